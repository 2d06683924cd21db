"""Reads DICOM files as grey uint8: modality LUT, VOI, scaling to 0..255, then inversion.

VOI is the first table of the VOI LUT sequence, else the first window, else the range of the values
that are not PixelPaddingValue. The range is also used when a window is missing, is no number or is
narrower than one; the rules record it. The window functions are those of PS3.3 C.11.2.1.

MONOCHROME1 and PresentationLUTShape INVERSE mean the same, so an image with both is inverted once.
Of a multi-frame file, the first frame is read. Presentation LUT sequences and overlays are ignored.
JPEG 2000 and JPEG-LS need the extra: pip install 'cxr-reportcard[dicom]'.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reportcard.core.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

    from reportcard.core.imaging.pixels import Pixels

Values = npt.NDArray[np.float32]
DEFLATED = "1.2.840.10008.1.2.1.99"
INSTALL = "pip install 'cxr-reportcard[dicom]'"


def read_dicom(path: Path) -> tuple[Pixels, tuple[str, ...]]:
    """Decode a DICOM file. Raises ImageError, whose message quotes no value of the header."""
    try:
        import pydicom
    except ImportError:
        raise ImageError("unreadable", f"DICOM needs {INSTALL}") from None
    from reportcard.core.imaging.pixels import check_size

    # Its warnings name files and quote headers.
    warnings.filterwarnings("ignore", module="pydicom")
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if header.file_meta.get("TransferSyntaxUID") == DEFLATED:
            raise ImageError("unreadable", "a deflated DICOM file may inflate to any size")
        if "Rows" not in header or "Columns" not in header:
            raise ImageError("unreadable", "a DICOM file without Rows and Columns")
        check_size(int(header.Columns), int(header.Rows))
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset:
            raise ImageError("truncated", "the DICOM header is there and no pixel data")
        _check_codestream(dataset.PixelData, int(dataset.Columns), int(dataset.Rows))
        return _grey(dataset)
    except ImageError:
        raise
    except Exception as error:  # broken bytes make pydicom raise any exception
        raise _explained(error) from error


def _check_codestream(data: bytes, columns: int, rows: int) -> None:
    """Raise ImageError when JPEG 2000 data has another size than the header.

    Its decoder allocates memory for the size in the data.
    """
    start = data[:4096].find(b"\xff\x4f\xff\x51")  # SOC, SIZ: length, profile, width, height
    if start < 0:
        return
    width, height = struct.unpack(">II", data[start + 8 : start + 16])
    if (width, height) != (columns, rows):
        raise ImageError("unreadable", f"{width} × {height} inside, {columns} × {rows} by header")


def _explained(error: Exception) -> ImageError:
    """Return the ImageError for a failure, without pydicom's message, which may quote a header."""
    text = str(error).lower()
    if "missing dependencies" in text or ("plugin" in text and "missing" in text):
        return ImageError("unreadable", f"no decoder for its transfer syntax; {INSTALL}")
    short = isinstance(error, EOFError) or "less than" in text or "end of file" in text
    return ImageError(
        "truncated" if short else "unreadable",
        "the pixel data ends early" if short else f"damaged DICOM ({type(error).__name__})",
    )


def _grey(dataset: Dataset) -> tuple[Pixels, tuple[str, ...]]:
    from pydicom.pixels.processing import apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    frames = int(dataset.get("NumberOfFrames") or 1)
    stored = pixel_array(dataset, index=0)
    rules = ("dicom", f"frame 1 of {frames}") if frames > 1 else ("dicom",)
    kind = str(dataset.PhotometricInterpretation)
    if stored.ndim == 3 or kind == "PALETTE COLOR":
        return _colour(dataset, stored), (*rules, f"{kind} luma")
    values = np.asarray(apply_modality_lut(stored, dataset), np.float32)
    inside = _not_padding(dataset, stored)
    unit, rule = _windowed(dataset, values, inside)
    shape = str(dataset.get("PresentationLUTShape", ""))
    invert = kind == "MONOCHROME1" or shape == "INVERSE"
    if invert:
        unit = 1 - unit
    rules = (*rules, rule, *(("inverted",) if invert else ()))
    return np.rint(unit * 255).astype(np.uint8), rules


def _windowed(
    dataset: Dataset,
    values: Values,
    inside: npt.NDArray[np.bool_] | None,
) -> tuple[Values, str]:
    """Scale values to 0..1; return the rule, too."""
    if dataset.get("VOILUTSequence"):
        return _looked_up(dataset, values), "voi lut"
    window = _first_window(dataset)
    if window is not None:
        centre, width, count = window
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        rule = f"window 1 of {count}" + ("" if function == "LINEAR" else f" {function.lower()}")
        return _apply(values, centre, width, function), rule
    tissue = values if inside is None or not inside.any() else values[inside]
    low, high = float(tissue.min()), float(tissue.max())
    return ((values - low) / max(high - low, 1e-6)).clip(0, 1), "minmax"


def _looked_up(dataset: Dataset, values: Values) -> Values:
    """Apply the first VOI LUT. pydicom's apply_voi wraps at 256 for an 8-bit table."""
    table = dataset.VOILUTSequence[0]
    count, first, depth = (int(number) for number in table.LUTDescriptor)
    count = count or 2**16
    if first >= 2**15 and values.min() < 0:  # read as unsigned where values are signed
        first -= 2**16
    data = table.LUTData
    if isinstance(data, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        lut = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")
    else:
        lut = np.atleast_1d(np.asarray(data, np.uint16))
    if depth == 8 and len(lut) < count:  # two entries to a word, the first in its low byte
        lut = lut.astype("<u2").view(np.uint8)
    if not 8 <= depth <= 16 or len(lut) < count:
        raise ImageError("unreadable", "a VOI LUT that does not fit its descriptor")
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, count - 1)
    unit: Values = (lut[index].astype(np.float32) / (2**depth - 1)).clip(0, 1)
    return unit


def _first_window(dataset: Dataset) -> tuple[float, float, int] | None:
    """Return (centre, width, number of windows), or None when no window is usable."""
    try:
        centres, widths = (_numbers(dataset.get(k)) for k in ("WindowCenter", "WindowWidth"))
    except (TypeError, ValueError):
        return None
    exact = str(dataset.get("VOILUTFunction") or "LINEAR") != "LINEAR"
    if not centres or len(centres) != len(widths) or not np.isfinite([*centres, *widths]).all():
        return None
    least = widths[0] > 0 if exact else widths[0] >= 1
    return (centres[0], widths[0], len(centres)) if least else None


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    several = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return [float(one) for one in several]


def _apply(values: Values, centre: float, width: float, function: str) -> Values:
    """Apply a window function: PS3.3 C.11.2.1.2 (LINEAR; width 1 is a threshold), C.11.2.1.3."""
    if function == "SIGMOID":
        bent: Values = (1 / (1 + np.exp(-4 * (values - centre) / width))).astype(np.float32)
        return bent
    if function == "LINEAR_EXACT":
        return ((values - centre) / width + 0.5).astype(np.float32).clip(0, 1)
    if width == 1:
        return (values > centre - 0.5).astype(np.float32)
    return ((values - (centre - 0.5)) / (width - 1) + 0.5).astype(np.float32).clip(0, 1)


def _not_padding(dataset: Dataset, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return where stored values are not PixelPaddingValue or in its range; None: no padding."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    first = int(dataset.PixelPaddingValue)
    last = int(dataset.get("PixelPaddingRangeLimit", first))
    padding = (stored >= min(first, last)) & (stored <= max(first, last))
    return ~padding if padding.any() else None


def _colour(dataset: Dataset, stored: npt.NDArray[Any]) -> Pixels:
    """Convert RGB, YBR (which pydicom converts) or a palette to grey."""
    from pydicom.pixels.processing import apply_color_lut

    from reportcard.core.imaging.pixels import luma

    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.dtype != np.uint8:
        stored = (stored.astype(np.uint32) // 257).astype(np.uint8)
    return luma(np.ascontiguousarray(stored[..., :3]))
