"""Reads and writes messages of a worker: 4 bytes with the length (big-endian), then a JSON object.

A worker runs a model's own code, which may write anything to the stream. So every message is
checked, and a wrong one raises a ProtocolError with the reason.
"""

from __future__ import annotations

import json
import struct

from reportcard.api import Json, ReportCardError

LENGTH = struct.Struct(">I")
LIMIT = 64 * 2**20  # a batch of reports with token ids is below one megabyte


class WorkerError(ReportCardError):
    """WorkerError: the worker process cannot continue and must be restarted."""


class ProtocolError(WorkerError):
    """ProtocolError: the worker sent something that is not a valid message."""


def pack(frame: Json) -> bytes:
    """Encode a message."""
    data = json.dumps(frame, allow_nan=False).encode("ascii")
    return LENGTH.pack(len(data)) + data


class FrameReader:
    """FrameReader collects bytes as they arrive and returns complete messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Json]:
        """Add bytes and return the messages that are complete now. Raises ProtocolError."""
        self._bytes += data
        found = []
        while len(self._bytes) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._bytes)
            if size > LIMIT:
                raise ProtocolError(
                    f"the worker announced {size:,} bytes, over the limit of {LIMIT:,}: something"
                    " other than the worker's own code wrote to its stream"
                )
            end = LENGTH.size + size
            if len(self._bytes) < end:
                break
            found.append(_parsed(bytes(self._bytes[LENGTH.size : end])))
            del self._bytes[:end]
        return found


def _parsed(data: bytes) -> Json:
    try:
        frame = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise ProtocolError("the worker's answer is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, _NaNError) else "the worker's answer is not JSON"
        raise ProtocolError(said) from None
    if not isinstance(frame, dict) or not isinstance(frame.get("kind"), str):
        raise ProtocolError('the worker\'s answer is not an object with a "kind"')
    return frame


class _NaNError(ValueError):
    pass


def _no_number(word: str) -> float:
    raise _NaNError(f"the worker's answer holds {word}, which is not JSON")
