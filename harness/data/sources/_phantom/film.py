"""Draws the frontal image: tissue from back to front, then exposure, grain and a side marker."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from reportcard.data.sources._phantom.canvas import (
    Draws,
    Plane,
    Point,
    Segment,
    curve,
    dome,
    doubled,
    edge,
)
from reportcard.data.sources._phantom.case import DEVICES, Case, Finding
from reportcard.data.sources._phantom.frontal import CARINA, SIGNS, Frontal

AIR, TISSUE, MEDIASTINUM, HEART, FLUID, BELLY = 42.0, 138.0, 172.0, 184.0, 168.0, 174.0
LETTERS = {
    "L": ("1000", "1000", "1000", "1000", "1111"),
    "A": ("0110", "1001", "1111", "1001", "1001"),
    "P": ("1110", "1001", "1110", "1000", "1000"),
}


def frontal(case: Case, size: int) -> npt.NDArray[np.uint8]:
    """Return the PA or AP radiograph of a case: grey values, shape (size, size)."""
    film = Frontal(case, size)
    y = film.frame.y
    body = _body(film)
    lungs = {side: film.cavities[side] for side in SIGNS}
    picture = np.float32(TISSUE) * body * (np.float32(0.93) + np.float32(0.10) * y)

    middle = edge(film.medial("right", y) - film.d("right"), 0.014)
    middle = middle * edge(film.medial("left", y) - film.d("left"), 0.014)
    chest = middle * edge(y - np.float32(film.apex - 0.02), 0.06)
    picture += np.float32(MEDIASTINUM - TISSUE) * chest
    heart = edge(y - np.float32(0.47), 0.10) * middle
    picture += np.float32(HEART - MEDIASTINUM) * heart
    for side in SIGNS:  # the liver and the spleen under the diaphragm
        below = np.float32(1) - edge(film.floor(side) - y, 0.012)
        below = below * edge(film.d(side), 0.01) * body
        picture += below * np.maximum(np.float32(BELLY) - picture, np.float32(0))

    texture, air = _vessels(film), film.frame.blank()
    for side in SIGNS:
        aerated, fluid = lungs[side], film.frame.blank()
        for finding in case.findings:
            if finding.side == side and finding.kind == "pneumothorax":
                aerated = aerated * (np.float32(1) - film.mask(finding))
            if finding.side == side and finding.kind == "effusion":
                fluid = film.level(finding)
        content = np.float32(AIR) + np.float32(16) * (np.float32(1) - y)
        content = content + aerated * (np.float32(11) + texture)
        content = content + fluid * (np.float32(FLUID) - content)
        picture += lungs[side] * (content - picture)
        air += lungs[side] * (np.float32(1) - fluid)
    _airways(film, picture)
    _bones(film, picture, air)
    _soft_findings(film, picture, texture)

    picture = picture * np.float32(film.gain) + np.float32(film.offset) * body
    picture = doubled(picture)
    _fine_findings(film, picture)
    picture += film.fine.grain(film.noise, 3.2 if case.view == "PA" else 4.6)
    _marker(picture, "L" if case.view == "PA" else "LAP")
    return np.minimum(np.maximum(np.rint(picture), 0), 255).astype(np.uint8)


def _body(film: Frontal) -> Plane:
    """Return the mask of neck, shoulders and flanks."""
    y = film.frame.y
    neck = np.float32(0.115)
    shoulders = np.float32(0.40) * dome(
        np.minimum((y - np.float32(0.30)) / np.float32(0.235), np.float32(0))
    )
    low = np.float32(film.width + 0.075) + np.float32(0.02) * (y - np.float32(0.5))
    half = np.maximum(neck, np.minimum(shoulders + neck * np.float32(0.7), low))
    across = np.maximum(film.frame.x, -film.frame.x)
    return edge(half - across, 0.016)


def _vessels(film: Frontal) -> Plane:
    """Draw the hila and the vessels that branch from them and thin out, at half size."""
    frame, layer = film.frame, film.frame.blank()
    segments: list[Segment] = []
    for side in SIGNS:
        draw = Draws(f"{film.case.body}/vessels/{side}")
        y0 = 0.455 if side == "right" else 0.435
        hila = ((0.082, 0.0, 0.045, 0.05), (0.075, 0.05, 0.038, 0.06))
        for d, y, rx, ry in hila:
            frame.blob(layer, film.at(side, d, y0 + y), (rx, ry), 34.0)
        fan = ((0.25, -1.0), (0.6, -0.8), (0.9, -0.45), (1.0, -0.05), (0.95, 0.35), (0.8, 0.7))
        for k, (dx, dy) in enumerate((*fan, (0.5, 0.95), (0.2, 1.05))):
            start = (0.075 + 0.01 * (k % 2), y0 + 0.03 * dy)
            _branch(segments, SIGNS[side], start, (dx * 0.105, dy * 0.105), 0.0105, 3, draw)
    frame.strokes(layer, segments, soft=0.006)
    return layer


def _branch(
    segments: list[Segment],
    sign: float,
    start: Point,
    course: Point,
    width: float,
    left: int,
    draw: Draws,
) -> None:
    turn = draw.between(-0.18, 0.18)
    dx, dy = course[0] - turn * course[1], course[1] + turn * course[0]
    end = (start[0] + dx, start[1] + dy)
    ends = (sign * start[0], start[1], sign * end[0], end[1])
    segments.append((*ends, width, 12 + 1400 * width))
    if left > 1:
        for way in (-1, 1):
            bend = way * draw.between(0.18, 0.45)
            course = (0.86 * (dx - bend * dy), 0.86 * (dy + bend * dx))
            _branch(segments, sign, end, course, width * 0.66, left - 1, draw)


def _airways(film: Frontal, picture: Plane) -> None:
    """Draw trachea and main bronchi, darker than the mediastinum around them."""
    layer = film.frame.blank()
    film.frame.stroke(layer, [(0.0, -0.1), (0.003, 0.2), (-0.004, CARINA)], 0.036, 1.0, soft=0.014)
    film.frame.stroke(layer, [(-0.004, CARINA), (-0.075, 0.445)], 0.024, 0.8, soft=0.014)
    film.frame.stroke(layer, [(-0.004, CARINA), (0.085, 0.440)], 0.020, 0.8, soft=0.014)
    picture -= np.float32(36) * layer


def _bones(film: Frontal, picture: Plane, air: Plane) -> None:
    frame, y = film.frame, film.frame.y
    draw = Draws(f"{film.case.body}/bones")
    pitch = np.float32(0.068)
    phase = y / pitch - np.floor(y / pitch)
    disc = edge(
        np.float32(0.14) - np.maximum(phase - np.float32(0.5), np.float32(0.5) - phase), 0.2
    )
    spine = edge(np.float32(0.036) - np.maximum(frame.x, -frame.x), 0.012)
    picture += spine * (np.float32(13) - np.float32(9) * disc)
    segments: list[Segment] = []
    tilt = draw.between(0.9, 1.1)
    for side in SIGNS:
        for k in range(10):
            _rib(film, segments, side, k, tilt)
    ribs = frame.blank()
    frame.strokes(ribs, segments, soft=0.006, rim=0.5)
    picture += ribs * (np.float32(0.4) + np.float32(0.6) * air)
    collar = frame.blank()
    for k in range(1, 15):
        for s in (-1, 1):  # pedicles
            frame.blob(collar, (s * 0.022, k * 0.068), (0.011, 0.014), 9.0)
    drop = draw.between(-0.012, 0.012)
    for side in SIGNS:
        scapula = curve([film.at(side, *p) for p in ((0.40, 0.20), (0.355, 0.30), (0.385, 0.46))])
        frame.stroke(collar, scapula, 0.018, 9.0, soft=0.03)
        route = [(0.035, 0.19), (0.12, 0.172), (0.24, 0.118), (0.35, 0.125 + drop)]
        clavicle = _band([film.at(side, *p) for p in route], 0.027, 20.0)
        frame.strokes(collar, clavicle, soft=0.008, rim=0.35)
    picture += collar


def _rib(film: Frontal, segments: list[Segment], side: str, k: int, tilt: float) -> None:
    """Draw a posterior rib from the spine out and down, and its fainter anterior end back in."""
    y0 = film.apex + 0.012 + 0.064 * k
    height = np.array([[min(y0 + 0.07, 0.75)]], np.float32)
    wall = float(film.lateral(height)[0, 0]) + 0.012
    fall = (0.055 + 0.012 * min(k, 5)) * tilt
    back = [(0.03, y0), (0.09, y0 - 0.012), (0.6 * wall, y0 + 0.1 * fall), (wall, y0 + fall)]
    segments += _band([film.at(side, *p) for p in back], 0.020, 15.0)
    if k < 7:
        h = y0 + fall
        front = [(wall, h), (0.98 * wall, h + 0.06)]
        front += [(0.7 * wall, h + 0.115), (0.42 * wall, h + 0.165)]
        segments += _band([film.at(side, *p) for p in front], 0.024, 8.0)


def _band(points: list[Point], width: float, value: float) -> list[Segment]:
    line = curve(points, steps=4)
    return [(*a, *b, width, value) for a, b in pairwise(line)]


def _soft_findings(film: Frontal, picture: Plane, texture: Plane) -> None:
    """Draw the soft findings that are not drawn together with the heart and the lungs."""
    for finding in film.case.findings:
        if finding.kind == "pneumothorax":
            mask = film.mask(finding)
            picture -= np.float32(14) * mask
            if finding.size == "large":  # the lung is crowded
                picture += np.float32(26) * film.cavities[finding.side] * (np.float32(1) - mask)
        elif finding.kind == "consolidation":
            mask = film.mask(finding)
            amount = np.float32(0.48 if finding.size == "patchy" else 0.82)
            target = np.maximum(picture + np.float32(26), np.float32(FLUID))
            picture += amount * mask * (target - picture)
            _bronchogram(film, picture, mask)
        elif finding.kind == "oedema":
            strength = np.float32(46 if finding.size == "mild" else 74)
            picture += film.mask(finding) * (strength - np.float32(0.35) * texture)


def _fine_findings(film: Frontal, picture: Plane) -> None:
    """Draw lines, tubes and nodules, at full size."""
    for finding in film.case.findings:
        if finding.kind == "pneumothorax":
            _pleural_line(film, picture, finding)
        elif finding.kind == "nodule":
            picture += np.float32(58) * film.mask(finding)
        elif finding.kind == "oedema":
            _septal_lines(film, picture, finding)
        elif finding.kind in DEVICES:
            bright = np.float32(240 if finding.kind == "pacemaker" else 222)
            picture += np.float32(0.85) * film.mask(finding) * (bright - picture)


def _pleural_line(film: Frontal, picture: Plane, finding: Finding) -> None:
    gap, steepness = film.collapse(finding, film.fine)
    gap = gap / steepness
    line = edge(np.float32(0.0028) - np.maximum(gap, -gap), 0.004)
    picture += np.float32(58) * line * doubled(film.cavities[finding.side])


def _bronchogram(film: Frontal, picture: Plane, mask: Plane) -> None:
    """Draw air-filled bronchi, which are dark branches inside a consolidation."""
    layer = film.frame.blank()
    segments: list[Segment] = []
    for side in SIGNS:
        draw = Draws(f"{film.case.body}/bronchi/{side}")
        for dx, dy in ((0.9, -0.6), (1.0, 0.3), (0.6, 0.9), (0.3, -1.0)):
            way = (dx * 0.12, dy * 0.12)
            _branch(segments, SIGNS[side], (0.08, 0.45), way, 0.006, 3, draw)
    film.frame.strokes(layer, segments, soft=0.006)
    picture -= np.float32(1.1) * layer * mask


def _septal_lines(film: Frontal, picture: Plane, finding: Finding) -> None:
    """Draw Kerley B lines: short lines at the chest wall of both bases."""
    layer, draw = film.fine.blank(), Draws(f"{film.case.body}/septa")
    for side in SIGNS:
        for k in range(6 if finding.size == "mild" else 10):
            y = 0.60 + 0.016 * k
            d = film.width - draw.between(0.008, 0.02)
            ends = [film.at(side, d, y), film.at(side, d - draw.between(0.02, 0.04), y + 0.004)]
            film.fine.stroke(layer, ends, 0.002, 30.0, soft=0.003)
    picture += layer * doubled(film.cavities["right"] + film.cavities["left"])


def _marker(picture: Plane, letters: str) -> None:
    """Draw lead letters in the upper corner on the patient's left."""
    n = picture.shape[0]
    dot = max(n // 160, 1)
    for k, letter in enumerate(letters):
        for row, bits in enumerate(LETTERS[letter]):
            for column, bit in enumerate(bits):
                if bit == "1":
                    top = n // 14 + row * dot
                    if letter != "L":  # the view stands under the side
                        top += 8 * dot
                    left = n - n // 9 + (column + 6 * max(k - 1, 0)) * dot
                    picture[top : top + dot, left : left + dot] = 235
