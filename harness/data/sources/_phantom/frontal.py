"""Models the frontal anatomy of a case, and gives the masks and boxes of its findings.

Lengths are fractions of the image (about 380 mm across); d is the distance from the midline.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from reportcard.data.sources._phantom.canvas import (
    Draws,
    Frame,
    Plane,
    Point,
    bounds,
    curve,
    dome,
    edge,
    step,
)
from reportcard.data.sources._phantom.case import Case, Finding

MM = 1 / 380
CARINA = 0.375
SIGNS = {"right": -1.0, "left": 1.0}  # the patient's right is on the left of the picture
# Centres (d, y) and radii of consolidation by lobe, and where a nodule of the lobe may lie.
LOBE_BLOBS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "RUL": ((0.17, 0.30, 0.15, 0.15), (0.23, 0.36, 0.13, 0.11), (0.13, 0.36, 0.11, 0.10)),
    "RML": ((0.15, 0.62, 0.13, 0.10), (0.22, 0.65, 0.12, 0.09), (0.11, 0.66, 0.09, 0.09)),
    "RLL": ((0.22, 0.72, 0.15, 0.12), (0.29, 0.74, 0.12, 0.12), (0.16, 0.70, 0.10, 0.10)),
    "LUL": ((0.18, 0.28, 0.14, 0.14), (0.23, 0.36, 0.13, 0.13), (0.14, 0.37, 0.11, 0.10)),
    "lingula": ((0.24, 0.60, 0.12, 0.11), (0.19, 0.57, 0.11, 0.09), (0.28, 0.64, 0.10, 0.10)),
    "LLL": ((0.16, 0.72, 0.13, 0.12), (0.24, 0.77, 0.14, 0.11), (0.12, 0.67, 0.08, 0.09)),
}
NODULES = {
    "RUL": (0.20, 0.30),
    "RML": (0.24, 0.59),
    "RLL": (0.27, 0.70),
    "LUL": (0.21, 0.31),
    "LLL": (0.31, 0.66),
}


class Frontal:
    """The anatomy of one case in its pose. `mask` says where a finding is drawn."""

    def __init__(self, case: Case, size: int) -> None:
        self.case = case
        body, pose = Draws(f"{case.body}/body"), Draws(f"{case.key}/pose")
        self.width = body.between(0.365, 0.395)  # half the thorax, inside the ribs
        self.apex = body.between(0.10, 0.125)
        self.base = {"right": body.between(0.745, 0.785)}
        self.base["left"] = self.base["right"] + body.between(0.012, 0.03)
        self.knob = body.between(0.072, 0.088)
        inspiration = pose.between(-0.02, 0.005) - (0.02 if case.view == "AP" else 0)
        self.base = {side: y + inspiration for side, y in self.base.items()}
        shift = (pose.between(-0.015, 0.015), pose.between(-0.012, 0.012))
        scale = pose.between(0.97, 1.02)
        self.frame = Frame(size // 2, shift, scale)  # anatomy is soft enough for half the size
        self.fine = Frame(size, shift, scale)  # lines and small things
        self.gain, self.offset = pose.between(0.92, 1.06), pose.between(-10, 10)
        self.noise = pose.whole(0, 2**31)

    def d(self, side: str) -> Plane:
        return self.frame.x * np.float32(SIGNS[side])

    def at(self, side: str, d: float, y: float) -> Point:
        return SIGNS[side] * d, y

    def lateral(self, y: Plane, apex: float = 0.0, start: float = 0.105) -> Plane:
        """Return where the lung meets the chest wall, at each height below its apex."""
        t = np.minimum((y - np.float32(self.apex + apex)) / np.float32(0.42), np.float32(1))
        return np.float32(start) + np.float32(self.width - start) * dome(np.float32(1) - t)

    def medial(self, side: str, y: Plane) -> Plane:
        """Return where the lung meets the mediastinum: vessels, aortic knob, heart."""
        t = np.minimum((y - np.float32(self.apex)) / np.float32(0.09), np.float32(1))
        line = np.float32(0.105) - np.float32(0.055) * dome(np.float32(1) - t)
        span = self.case.ratio * 2 * self.width
        if side == "right":
            reach, centre, half = 0.36 * span, 0.62, 0.19
            line = line + np.float32(0.012) * dome((y - np.float32(0.33)) / np.float32(0.13))
        else:
            reach, centre, half = 0.64 * span, 0.69, 0.17
            knob = dome((y - np.float32(0.315)) / np.float32(0.055))
            trunk = dome((y - np.float32(0.43)) / np.float32(0.08))
            line = np.maximum(line, np.float32(self.knob) * knob)
            line = np.maximum(line, np.float32(0.078) * trunk)
        below = dome(np.maximum(y - np.float32(centre), np.float32(0)) / np.float32(half))
        above = step((y - np.float32(centre - 0.27)) / np.float32(0.27))
        if side == "right":
            above = dome(np.minimum(y - np.float32(centre), np.float32(0)) / np.float32(half))
        heart: Plane = np.float32(reach) * np.where(y > centre, below, above)
        border: Plane = np.maximum(line, heart)
        return border

    def floor(self, side: str) -> Plane:
        """Return the height of the diaphragm at each d: a dome down to the costophrenic angle."""
        t = (self.d(side) - np.float32(0.19)) / np.float32(0.2)
        return np.float32(self.base[side]) + np.float32(0.10) * t * t

    def cavity(self, side: str) -> Plane:
        """Return the pleural space of a side, 0 … 1: chest wall to mediastinum and diaphragm."""
        y, d = self.frame.y, self.d(side)
        wall = np.where(y > np.float32(self.apex), self.lateral(y), np.float32(0))
        inside = edge(wall - d, 0.010) * edge(d - self.medial(side, y), 0.014)
        return inside * edge(self.floor(side) - y, 0.010)

    @cached_property
    def cavities(self) -> dict[str, Plane]:
        return {side: self.cavity(side) for side in SIGNS}

    def mask(self, finding: Finding) -> Plane:
        """Return how much of each pixel the finding covers, 0 … 1; soft findings at half size."""
        layer: Plane = getattr(self, f"_{finding.kind}")(finding)
        return layer

    def boxes(self, finding: Finding) -> list[tuple[float, float, float, float]]:
        """Return the boxes of a finding: one, or one for each wing of an oedema."""
        if finding.kind == "oedema":
            masks = [self.haze(finding, side) for side in SIGNS]
        else:
            masks = [self.mask(finding)]
        found = [bounds(mask, self.fine.size) for mask in masks]
        return [box for box in found if box is not None]

    def _cardiomegaly(self, finding: Finding) -> Plane:
        y = self.frame.y
        body = edge(y - np.float32(0.43), 0.01) * edge(
            np.float32(self.base["left"] + 0.03) - y, 0.01
        )
        right = edge(self.medial("right", y) - self.d("right"), 0.01)
        return body * right * edge(self.medial("left", y) - self.d("left"), 0.01)

    def _effusion(self, finding: Finding) -> Plane:
        return self.cavities[finding.side] * self.level(finding)

    def level(self, finding: Finding) -> Plane:
        """Return where fluid lies: below a meniscus that rises towards the chest wall."""
        side = finding.side
        level, rise = {
            "small": (self.base[side] + 0.015, 0.10),
            "moderate": (0.665, 0.14),
            "large": (0.49, 0.16),
        }[finding.size]
        out = np.maximum(self.d(side) - np.float32(0.13), np.float32(0)) / np.float32(0.25)
        return edge(self.frame.y - (np.float32(level) - np.float32(rise) * out * out), 0.022)

    def collapse(self, finding: Finding, frame: Frame) -> tuple[Plane, Plane]:
        """Return (the collapsed lung's outline minus d, its steepness) beside a pneumothorax."""
        y = frame.y
        apex, gap, low = (0.05, 0.035, 0.62) if finding.size == "small" else (0.13, 0.15, 1.4)
        fade = np.float32(1) - step((y - np.float32(low - 0.35)) / np.float32(0.35))
        line = self.lateral(y, apex, 0.03) - np.float32(gap) * fade
        slope = np.zeros_like(line)
        slope[1:] = (line[1:] - line[:-1]) / (y[1:] - y[:-1])
        return line - frame.x * np.float32(SIGNS[finding.side]), np.sqrt(
            np.float32(1) + slope * slope
        )

    def _pneumothorax(self, finding: Finding) -> Plane:
        gap, _ = self.collapse(finding, self.frame)
        return self.cavities[finding.side] * edge(-gap, 0.006)

    def _consolidation(self, finding: Finding) -> Plane:
        side, draw = finding.side, Draws(f"{self.case.body}/{finding.lobe}")
        layer = self.frame.blank()
        for d, y, rx, ry in LOBE_BLOBS[finding.lobe]:
            d, y = d + draw.between(-0.012, 0.012), y + draw.between(-0.012, 0.012)
            self.frame.blob(layer, self.at(side, d, y), (rx, ry), 1.1)
            for _ in range(3):  # a ragged border
                spot = (d + draw.between(-0.08, 0.08), y + draw.between(-0.07, 0.07))
                self.frame.blob(layer, self.at(side, *spot), (0.055, 0.05), 0.5)
        if finding.lobe == "RUL":  # the minor fissure stops it
            layer *= edge(np.float32(0.455) - self.frame.y, 0.008)
        if finding.lobe == "RML":
            layer *= edge(self.frame.y - np.float32(0.505), 0.008)
        inside = self.cavities[side]
        if finding.lobe == "LLL":  # behind the heart
            height, out = self.frame.y, self.d(side)
            inside = edge(out - np.float32(0.06), 0.01) * edge(self.lateral(height) - out, 0.01)
            inside = inside * edge(self.floor(side) - height, 0.01)
        return step(layer * np.float32(0.85)) * inside

    def _nodule(self, finding: Finding) -> Plane:
        draw = Draws(f"{self.case.body}/nodule")
        d, y = NODULES[finding.lobe]
        d, y = d + draw.between(-0.03, 0.03), y + draw.between(-0.03, 0.03)
        layer, radius = self.fine.blank(), finding.mm * MM / 2 * 1.06
        self.fine.blob(layer, self.at(finding.side, d, y), (radius, radius), 1.0, hardness=0.7)
        return layer

    def _oedema(self, finding: Finding) -> Plane:
        return np.maximum(self.haze(finding, "right"), self.haze(finding, "left"))

    def haze(self, finding: Finding, side: str) -> Plane:
        """Return one wing of the perihilar haze."""
        layer = self.frame.blank()
        reach = 0.24 if finding.size == "mild" else 0.34
        self.frame.blob(layer, self.at(side, 0.12, 0.47), (reach, reach * 1.1), 1.5)
        self.frame.blob(layer, self.at(side, 0.16, 0.58), (reach * 0.8, reach * 0.9), 0.7)
        return np.minimum(layer, np.float32(1)) * self.cavities[side]

    def tip(self) -> float:
        """Return how far above the carina the endotracheal tube ends."""
        return Draws(f"{self.case.key}/tube").whole(30, 55) * MM

    def _ett(self, finding: Finding) -> Plane:
        layer = self.fine.blank()
        line = curve([(0.012, -0.05), (0.004, 0.12), (-0.002, CARINA - self.tip())])
        for offset in (-0.009, 0.009):
            self.fine.stroke(layer, [(x + offset, y) for x, y in line], 0.003, 1.0)
        self.fine.stroke(layer, line, 0.018, 0.35)
        return layer

    def _ngt(self, finding: Finding) -> Plane:
        layer = self.fine.blank()
        under = self.base["left"]
        route = [(-0.012, -0.05), (-0.008, 0.2), (0.012, 0.45), (0.022, 0.68)]
        route += [(0.05, under + 0.03), (0.10, under + 0.09), (0.15, under + 0.10)]
        line = curve(route)
        self.fine.stroke(layer, line, 0.009, 0.55)
        self.fine.stroke(layer, line, 0.003, 1.0)
        return layer

    def _cvc(self, finding: Finding) -> Plane:
        layer = self.fine.blank()
        if finding.side == "right":  # internal jugular vein to superior vena cava
            route = [(-0.075, -0.05), (-0.07, 0.08), (-0.05, 0.2), (-0.047, 0.30), (-0.05, 0.41)]
        else:
            route = [(0.08, -0.05), (0.075, 0.1), (0.04, 0.2), (-0.03, 0.24), (-0.05, 0.33)]
            route += [(-0.05, 0.41)]
        self.fine.stroke(layer, curve(route), 0.006, 1.0)
        return layer

    def _pacemaker(self, finding: Finding) -> Plane:
        layer = self.fine.blank()
        s = SIGNS[finding.side]
        box = [(s * 0.235, 0.215), (s * 0.275, 0.225)]
        self.fine.stroke(layer, box, 0.075, 1.0)
        reach = self.case.ratio * 2 * self.width
        entry = [(s * 0.24, 0.2), (s * 0.19, 0.15), (s * 0.08, 0.185), (-0.03, 0.26), (-0.05, 0.42)]
        for end in (
            [(-0.075, 0.55), (-0.04, 0.60)],
            [(-0.07, 0.62), (0.03, 0.715), (reach * 0.40, 0.735)],
        ):
            self.fine.stroke(layer, curve([*entry, *end]), 0.0055, 0.95)
        return layer
