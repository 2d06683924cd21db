"""Draws the lateral radiograph of a case: chest front on the left, spine on the right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from reportcard.data.sources._phantom.canvas import (
    Draws,
    Frame,
    Plane,
    Segment,
    curve,
    dome,
    doubled,
    edge,
    step,
)
from reportcard.data.sources._phantom.case import Case, Finding

# Where a lobe lies from the side: (x, y).
PLACES = {
    "RUL": (0.02, 0.29),
    "LUL": (-0.02, 0.28),
    "RML": (-0.14, 0.60),
    "lingula": (-0.15, 0.59),
    "RLL": (0.15, 0.69),
    "LLL": (0.17, 0.70),
}
MM = 1 / 380


def lateral(case: Case, size: int) -> npt.NDArray[np.uint8]:
    """Return the lateral radiograph of a case: grey values, shape (size, size)."""
    body, pose = Draws(f"{case.body}/lateral"), Draws(f"{case.key}/lateral")
    shift = (pose.between(-0.02, 0.02), pose.between(-0.012, 0.012))
    frame = Frame(size // 2, shift, pose.between(0.97, 1.02))
    depth, base = body.between(0.94, 1.06), body.between(0.70, 0.74)
    x, y = frame.x, frame.y
    front, back = _outline(y, depth)
    skin = edge(x - front + np.float32(0.055), 0.014) * edge(back + np.float32(0.085) - x, 0.014)
    picture = np.float32(140) * skin

    floors = [_floor(x, base), _floor(x, base + 0.035)]
    lung = edge(x - front, 0.014) * edge(back - x, 0.014) * edge(y - np.float32(0.09), 0.03)
    both, one = lung * edge(floors[0] - y, 0.010), lung * edge(floors[1] - y, 0.010)
    air = np.float32(52) + np.float32(40) * step((np.float32(0.42) - y) / np.float32(0.34))
    air = air - np.float32(10) * step((y - np.float32(0.5)) / np.float32(0.3))
    picture += np.float32(0.5) * one * (air - picture)
    picture += both * (air - picture)

    heart, reach = frame.blank(), 0.44 * case.ratio * depth
    frame.blob(heart, (-0.10, 0.625), (reach, reach * 0.86), 1.0, hardness=0.9)
    picture += np.minimum(heart, np.float32(1)) * one * np.float32(70)
    _middle(frame, picture, both)
    _bones(frame, picture, depth)
    for finding in case.findings:
        _draw(case, finding, frame, picture, one, base)
    picture = picture * np.float32(pose.between(0.95, 1.08)) + np.float32(pose.between(-8, 8))
    picture = doubled(picture)
    picture += Frame(size).grain(pose.whole(0, 2**31), 3.6)
    return np.minimum(np.maximum(np.rint(picture), 0), 255).astype(np.uint8)


def _outline(y: Plane, depth: float) -> tuple[Plane, Plane]:
    """Return the inside of the chest wall at each height: sternum and back."""
    t = (y - np.float32(0.58)) / np.float32(0.52)
    front = np.float32(-0.06) - np.float32(0.21 * depth) * dome(t)
    s = (y - np.float32(0.50)) / np.float32(0.60)
    return front, np.float32(0.05) + np.float32(0.25 * depth) * dome(s)


def _floor(x: Plane, base: float) -> Plane:
    """Return a hemidiaphragm: highest in front of the middle, low at the back."""
    t = (x + np.float32(0.07)) / np.float32(0.30)
    slope: Plane = np.where(t > 0, np.float32(0.13), np.float32(0.09))
    height: Plane = np.float32(base) + slope * t * t
    return height


def _middle(frame: Frame, picture: Plane, lung: Plane) -> None:
    """Draw hilum, vessels, aortic arch and trachea."""
    layer = frame.blank()
    frame.blob(layer, (0.02, 0.46), (0.075, 0.085), 44.0)
    frame.stroke(
        layer,
        curve([(-0.05, 0.46), (-0.03, 0.30), (0.06, 0.29), (0.11, 0.40), (0.15, 0.70)]),
        0.055,
        20.0,
        soft=0.03,
    )
    fan = ((0.02, -0.2), (-0.13, -0.14), (-0.15, 0.03), (0.12, 0.19), (0.05, 0.22), (-0.07, 0.2))
    for dx, dy in (*fan, (0.14, -0.06)):
        end = (0.02 + dx, 0.46 + dy)
        frame.stroke(layer, [(0.02, 0.46), end], 0.008, 16.0, soft=0.008)
    picture += layer * lung
    airway = frame.blank()
    frame.stroke(airway, [(-0.03, -0.05), (-0.005, 0.2), (0.02, 0.40)], 0.038, 1.0, soft=0.016)
    picture -= np.float32(30) * airway


def _bones(frame: Frame, picture: Plane, depth: float) -> None:
    spine = curve([(0.10, -0.05), (0.17, 0.18), (0.245 * depth, 0.45), (0.225 * depth, 0.95)])
    layer = frame.blank()
    frame.stroke(layer, spine, 0.085, 34.0, soft=0.014)
    picture += layer * (np.float32(1.25) - np.float32(0.75) * frame.y)
    discs, bone = frame.blank(), frame.blank()
    for (x0, y0), (x1, y1) in zip(spine[1::2], spine[2::2], strict=False):
        for x, y in ((x0, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x1, y1)):
            frame.stroke(discs, [(x - 0.036, y - 0.003), (x + 0.036, y + 0.003)], 0.008, 15.0)
    picture -= discs
    sternum = curve([(-0.13, 0.19), (-0.235 * depth, 0.33), (-0.285 * depth, 0.58)])
    frame.stroke(bone, sternum, 0.026, 30.0, soft=0.01)
    segments: list[Segment] = []
    for k in range(9):
        top = 0.12 + 0.066 * k
        rib = curve([(0.27, top), (0.16, top + 0.03), (0.0, top + 0.10), (-0.13, top + 0.18)], 4)
        ends = pairwise(rib)
        segments += [(*a, *b, 0.017, 9.0) for a, b in ends]
    frame.strokes(bone, segments, soft=0.006, rim=0.4)
    frame.stroke(bone, [(0.20, 0.12), (0.27, 0.42)], 0.03, 12.0, soft=0.02)  # scapulae
    picture += bone


def _draw(
    case: Case, finding: Finding, frame: Frame, picture: Plane, lung: Plane, base: float
) -> None:
    """Draw a finding as it looks from the side. A pneumothorax and thin tubes are not visible."""
    x, y, layer = frame.x, frame.y, frame.blank()
    if finding.kind == "effusion":
        level = {"small": base + 0.10, "moderate": base - 0.02, "large": base - 0.2}[finding.size]
        out = np.maximum(x - np.float32(0.05), np.float32(0)) / np.float32(0.25)
        inn = np.maximum(np.float32(0.05) - x, np.float32(0)) * np.float32(0.35)
        fluid = lung * edge(y - np.float32(level) + np.float32(0.10) * out * out - inn, 0.022)
        picture += fluid * np.maximum(np.float32(160) - picture, np.float32(0))
    elif finding.kind == "consolidation":
        cx, cy = PLACES[finding.lobe]
        frame.blob(layer, (cx, cy), (0.14, 0.13), 1.5)
        amount = np.float32(0.45 if finding.size == "patchy" else 0.75)
        picture += amount * np.minimum(layer, np.float32(1)) * lung * np.float32(95)
    elif finding.kind == "nodule":
        radius = finding.mm * MM / 2 * 1.06
        frame.blob(layer, PLACES[finding.lobe], (radius, radius), 52.0, hardness=0.7)
        picture += layer
    elif finding.kind == "oedema":
        reach = 0.22 if finding.size == "mild" else 0.30
        frame.blob(layer, (0.02, 0.48), (reach, reach), 60.0 if finding.size == "mild" else 90.0)
        picture += layer * lung
    elif finding.kind == "pacemaker":
        frame.stroke(layer, [(-0.16, 0.20), (-0.13, 0.235)], 0.03, 1.0)
        lead = [(-0.14, 0.19), (-0.08, 0.15), (0.0, 0.25), (0.02, 0.42), (0.0, 0.62), (-0.15, 0.70)]
        frame.stroke(layer, curve(lead), 0.0055, 1.0)
        picture += layer * (np.float32(235) - picture)
    elif finding.kind == "cvc":
        frame.stroke(layer, curve([(-0.02, -0.05), (-0.01, 0.2), (-0.02, 0.41)]), 0.006, 0.8)
        picture += layer * (np.float32(215) - picture)
