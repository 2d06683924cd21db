"""Draws soft shapes on a grey canvas, with arithmetic that gives the same bytes everywhere.

It uses only elementwise + − × ÷ √ and comparisons on float32, which IEEE 754 rounds alike on every
platform, and PCG64's raw stream, which NumPy promises not to change. It avoids exp, sin, pow,
interpolation and reductions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Point = tuple[float, float]
Segment = tuple[float, float, float, float, float, float]
T = TypeVar("T")


class Draws:
    """Seeded choices. Only random.random() is used, whose stream Python keeps."""

    def __init__(self, key: str) -> None:
        self._random = Random(key)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high), in steps of 1/10000 of the range."""
        return low + (high - low) * (int(self._random.random() * 10_000) / 10_000)

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self._random.random() * len(options))]

    def weighted(self, options: Sequence[tuple[T, int]]) -> T:
        """Return one of the options, given as (option, weight)."""
        left = self._random.random() * sum(weight for _, weight in options)
        for option, weight in options:
            left -= weight
            if left < 0:
                return option
        return options[-1][0]


def step(x: Plane) -> Plane:
    """Return a smooth step: 0 below 0, 1 above 1."""
    t = np.maximum(x, np.float32(0))
    np.minimum(t, np.float32(1), out=t)
    rest = np.float32(3) - t
    rest -= t
    rest *= t
    rest *= t
    return rest


def edge(distance: Plane, softness: float) -> Plane:
    """Return 1 where distance is above 0 and 0 below, with a soft border of the given width."""
    t = distance * np.float32(1 / softness)
    t += np.float32(0.5)
    return step(t)


def dome(t: Plane) -> Plane:
    """Return √(1 − t²) where |t| < 1, else 0."""
    height: Plane = np.sqrt(np.maximum(np.float32(1) - t * t, np.float32(0)))
    return height


class Frame:
    """The coordinates of the patient: x from the midline, y from the top, in image widths.

    `shift` and `scale` position the patient. x is positive on the right of the image, which is the
    patient's left in a frontal view.
    """

    def __init__(self, size: int, shift: Point = (0.0, 0.0), scale: float = 1.0) -> None:
        centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
        self.size = size
        self.x: Plane = ((centres - np.float32(0.5 + shift[0])) / np.float32(scale))[None, :]
        self.y: Plane = (
            (centres - np.float32(0.5 + shift[1])) / np.float32(scale) + np.float32(0.5)
        )[:, None]

    def blank(self) -> Plane:
        return np.zeros((self.size, self.size), np.float32)

    def window(self, low: Point, high: Point) -> tuple[slice, slice]:
        """Return the rows and columns of a rectangle, as slices."""
        return _span(self.y[:, 0], low[1], high[1]), _span(self.x[0], low[0], high[0])

    def stroke(
        self, layer: Plane, points: Sequence[Point], width: float, value: float, soft: float = 0.004
    ) -> None:
        """Draw a line through the points, where it is brighter than the layer.

        Args:
            layer: what to draw on.
            points: (x, y) in the coordinates of the patient.
            width: of the line.
            value: its grey value.
            soft: the width of the soft border.
        """
        legs = pairwise(points)
        self.strokes(layer, [(*a, *b, width, value) for a, b in legs], soft)

    def strokes(
        self, layer: Plane, segments: Sequence[Segment], soft: float, rim: float = 0.0
    ) -> None:
        """Draw many lines at once.

        Args:
            layer: what to draw on.
            segments: (x0, y0, x1, y1, width, value) of each line.
            soft: the width of the soft border.
            rim: how much brighter the borders are than the middle, like the cortex of a bone.
        """
        groups: dict[tuple[int, int], list[Segment]] = {}
        unit = self.size / float(self.x[0, -1] - self.x[0, 0])
        for s in segments:
            pixels = [(abs(s[k + 2] - s[k]) + s[4] + soft) * unit + 3 for k in (1, 0)]
            height, width = (min(-int(-n // 16) * 16, self.size) for n in pixels)
            groups.setdefault((height, width), []).append(s)
        for shape, group in groups.items():
            for k in range(0, len(group), 64):  # as many as fit into a processor's cache
                self._strokes(layer, np.array(group[k : k + 64]), shape, soft, rim)

    def _strokes(
        self,
        layer: Plane,
        s: npt.NDArray[np.float64],
        shape: tuple[int, int],
        soft: float,
        rim: float,
    ) -> None:
        """Draw the segments of a group, each in a window of the given shape."""
        height, width = shape
        reach = (s[:, 4] + soft) / 2
        tops = _starts(self.y[:, 0], np.minimum(s[:, 1], s[:, 3]) - reach, height)
        lefts = _starts(self.x[0], np.minimum(s[:, 0], s[:, 2]) - reach, width)
        f = s.astype(np.float32)[:, :, None, None]
        x = self.x[0][lefts[:, None] + np.arange(width)][:, None, :] - f[:, 0]
        y = self.y[:, 0][tops[:, None] + np.arange(height)][:, :, None] - f[:, 1]
        dx, dy = f[:, 2] - f[:, 0], f[:, 3] - f[:, 1]
        norm = np.maximum(dx * dx + dy * dy, np.float32(1e-9))
        along = x * (dx / norm) + y * (dy / norm)
        np.maximum(along, np.float32(0), out=along)
        np.minimum(along, np.float32(1), out=along)
        across = x - along * dx
        across *= across
        along *= dy
        np.subtract(y, along, out=along)
        along *= along
        across += along
        gap = np.sqrt(across, out=across)
        np.subtract(f[:, 4] / np.float32(2), gap, out=gap)
        drawn = edge(gap, soft)
        drawn *= f[:, 5]
        if rim:
            gap *= np.float32(-1)
            gap += f[:, 4] * np.float32(0.2)
            cortex = edge(gap, soft)
            cortex *= np.float32(rim)
            cortex += np.float32(1)
            drawn *= cortex
        for top, left, patch in zip(tops.tolist(), lefts.tolist(), drawn, strict=True):
            part = layer[top : top + height, left : left + width]
            np.maximum(part, patch, out=part)

    def blob(
        self, layer: Plane, centre: Point, radius: Point, value: float, hardness: float = 0.0
    ) -> None:
        """Add a soft ellipse.

        Args:
            layer: what to draw on.
            centre: (x, y) in the coordinates of the patient.
            radius: of both axes.
            value: the grey value at the centre.
            hardness: 0 fades from the centre on, 1 has a sharp rim.
        """
        rows, columns = self.window(
            (centre[0] - radius[0], centre[1] - radius[1]),
            (centre[0] + radius[0], centre[1] + radius[1]),
        )
        x = (self.x[:, columns] - np.float32(centre[0])) / np.float32(radius[0])
        y = (self.y[rows] - np.float32(centre[1])) / np.float32(radius[1])
        inside = np.float32(1) - np.sqrt(x * x + y * y)
        layer[rows, columns] += np.float32(value) * step(inside / np.float32(1 - 0.9 * hardness))

    def grain(self, seed: int, amount: float) -> Plane:
        """Return film grain: sums of two random bytes, smeared one pixel down and right."""
        n = self.size * self.size
        raw = np.random.PCG64(seed).random_raw((n + 3) // 4).astype("<u8", copy=False)
        pairs = raw.view("<u2")[:n].reshape(self.size, self.size)
        noise = ((pairs & 255) + (pairs >> 8)).astype(np.int16) - np.int16(255)
        noise[1:] += noise[:-1].copy()
        noise[:, 1:] += noise[:, :-1].copy()
        return noise.astype(np.float32) * np.float32(amount / 209)


def curve(points: Iterable[Point], steps: int = 6) -> list[Point]:
    """Return a smooth line along control points, made of quadratic arcs."""
    p = list(points)
    if len(p) < 3:
        return p
    line = [p[0]]
    start = p[0]
    for i in range(1, len(p) - 1):
        last = i == len(p) - 2
        end = p[-1] if last else ((p[i][0] + p[i + 1][0]) / 2, (p[i][1] + p[i + 1][1]) / 2)
        for k in range(1, steps + 1):
            t = k / steps
            a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
            line.append(
                (
                    a * start[0] + b * p[i][0] + c * end[0],
                    a * start[1] + b * p[i][1] + c * end[1],
                )
            )
        start = end
    return line


def bounds(mask: Plane, size: int) -> tuple[float, float, float, float] | None:
    """Return x_min, y_min, x_max, y_max of the pixels over 0.5, as fractions of the image.

    None when there are none. A mask of half the image's size is doubled first, as in drawing.
    """
    top = left = 0
    if len(mask) != size:  # doubling the part around the finding is enough
        rows, columns = _covered(mask > 0)
        if not len(rows):
            return None
        top, left = max(int(rows[0]) - 1, 0), max(int(columns[0]) - 1, 0)
        mask = doubled(mask[top : rows[-1] + 2, left : columns[-1] + 2])
        top, left = 2 * top, 2 * left
    rows, columns = _covered(mask > np.float32(0.5))
    if not len(rows):
        return None
    ends = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    x_min, y_min, x_max, y_max = (round(int(end) / size, 6) for end in ends)
    return x_min, y_min, x_max, y_max


def _covered(inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))


def doubled(layer: Plane) -> Plane:
    """Return a layer at twice its size, bilinear. Soft layers are drawn at half size."""
    height, width = layer.shape
    near, far = layer * np.float32(0.75), layer * np.float32(0.25)
    tall = np.empty((2 * height, width), np.float32)
    tall[0], tall[-1] = layer[0], layer[-1]
    np.add(near[1:], far[:-1], out=tall[2::2])
    np.add(near[:-1], far[1:], out=tall[1:-1:2])
    near, far = tall * np.float32(0.75), tall * np.float32(0.25)
    out = np.empty((2 * height, 2 * width), np.float32)
    out[:, 0], out[:, -1] = tall[:, 0], tall[:, -1]
    np.add(near[:, 1:], far[:, :-1], out=out[:, 2::2])
    np.add(near[:, :-1], far[:, 1:], out=out[:, 1:-1:2])
    return out


def _starts(line: Plane, lows: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.int64]:
    first = np.searchsorted(line, lows.astype(np.float32)) - 1
    return np.clip(first, 0, len(line) - side)


def _span(line: Plane, low: float, high: float) -> slice:
    return slice(int(np.searchsorted(line, low)), int(np.searchsorted(line, high)))
