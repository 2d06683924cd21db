"""Runs a worker in a model's own environment: python worker_main.py WORKER.py SCRATCH BEAT_S

The worker file has two functions and may import anything:

    load(settings) -> model                 called once; settings: weights, device, dtype, …
    answer(model, tasks) -> list of dicts   one per task, in order: {"text": …, "finished": …}

This file uses only the standard library and runs on Python 3.7, because some models need it.
Messages are a 4-byte big-endian length and a JSON object. They go over copies of the first stdin
and stdout; then stdin becomes /dev/null and stdout becomes stderr, so that a model may print or
read without harm. When the harness closes the stream, or dies, the process removes its images and
ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import queue
import shutil
import struct
import sys
import threading
import traceback
from typing import Any, BinaryIO

PROTOCOL = 1
LENGTH = struct.Struct(">I")


class Channel:
    """Channel is the stream to the harness; several threads may send."""

    def __init__(self) -> None:
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._out: BinaryIO = os.fdopen(os.dup(1), "wb")
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, frame: dict[str, Any]) -> None:
        """Send a message."""
        data = json.dumps(frame, allow_nan=False).encode("ascii")
        with self._lock:
            self._out.write(LENGTH.pack(len(data)) + data)
            self._out.flush()

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message; None means that the harness closed the stream."""
        head = self._in.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        size = LENGTH.unpack(head)[0]
        data = self._in.read(size)
        frame: dict[str, Any] = json.loads(data.decode("utf-8"))
        return frame if len(data) == size else None


def main(worker: str, scratch: str, beat_s: float) -> None:
    """Load the model, then answer batches until the harness closes the stream."""
    channel = Channel()
    frames: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(channel, frames, scratch), daemon=True).start()
    threading.Thread(target=_beat, args=(channel, beat_s), daemon=True).start()
    sys.path[0] = os.path.dirname(os.path.abspath(worker))  # not the harness's own folder
    try:
        channel.send(dict(_versions(), kind="hello", protocol=PROTOCOL))
        module = _module(worker)
        model = module.load(frames.get())
        channel.send({"kind": "ready"})
    except BaseException as error:
        channel.send(_problem(error))
        raise
    while True:
        batch = frames.get()
        try:
            answers = list(module.answer(model, batch["tasks"]))
            if len(answers) == len(batch["tasks"]):
                answers = [
                    dict({"id": task["id"]}, **given)
                    for task, given in zip(batch["tasks"], answers)  # noqa: B905 (Python 3.7)
                ]
            channel.send({"kind": "answers", "batch": batch["batch"], "answers": answers})
        except Exception as error:
            traceback.print_exc()
            channel.send(dict(_problem(error), batch=batch["batch"]))
            _free()


def _listen(channel: Channel, frames: queue.Queue[dict[str, Any]], scratch: str) -> None:
    try:
        while True:
            frame = channel.receive()
            if frame is None:
                break
            frames.put(frame)
    finally:
        # os._exit instead of sys.exit: the main thread may be in the middle of a forward pass.
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(0)


def _beat(channel: Channel, beat_s: float) -> None:
    """Send heartbeats while the model works; they stop when the interpreter is stuck."""
    pause = threading.Event()
    while not pause.wait(beat_s):
        channel.send({"kind": "alive"})


def _problem(error: BaseException) -> dict[str, Any]:
    """Return an exception as a message. fatal: the CUDA context is lost, so nothing will work."""
    name, said = type(error).__name__, " ".join(str(error).split())[:500]
    scarce = name == "OutOfMemoryError" or "CUDA out of memory" in said
    return {
        "kind": "error",
        "type": name,
        "message": said,
        "memory": scarce,
        "fatal": "CUDA error" in said and not scarce,
    }


def _module(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("reportcard_worker", path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file: " + path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reportcard_worker"] = module
    spec.loader.exec_module(module)
    return module


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version()}
    found.update(torch=None, transformers=_version("transformers"), cuda=None, gpu=None)
    try:
        import torch

        found["torch"] = str(torch.__version__)
        if torch.cuda.is_available():
            found["cuda"], found["gpu"] = torch.version.cuda, torch.cuda.get_device_name(0)
    except Exception:  # torch is not installed or does not start: load() will say more
        traceback.print_exc(limit=0)
    return found


def _version(package: str) -> str | None:
    """Return the version of an installed package without importing it."""
    try:
        from importlib.metadata import version  # 3.8
    except ImportError:
        prefix = package + "-"
        for folder in filter(os.path.isdir, sys.path):
            for entry in os.listdir(folder):
                if entry.startswith(prefix) and entry.endswith(".dist-info"):
                    return entry[len(prefix) : -len(".dist-info")]
        return None
    try:
        return version(package)
    except Exception:
        return None


def _free() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
