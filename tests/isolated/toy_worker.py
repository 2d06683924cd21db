"""Standard library alone: answers, or misbehaves as the prompt says."""

import gc
import hashlib
import os
import signal
import struct
import sys
import time

print("a model that prints while it is imported")


def load(settings):
    if settings["at_load"] == "raise":
        raise RuntimeError("no such weights: CANARY")
    if settings["at_load"] == "exit":
        os._exit(9)
    if settings["at_load"] == "ignore_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return settings


def answer(model, tasks):
    os.write(1, b"bytes on the first descriptor\n")
    answers = [_one(model, task, len(tasks)) for task in tasks]
    words = {task["prompt"] for task in tasks}
    if "few" in words and len(tasks) > 1:
        answers.pop()
    if "order" in words and len(tasks) > 1:
        for given, task in zip(answers, reversed(tasks)):  # noqa: B905 (Python 3.7)
            given["id"] = task["id"]
    return answers


def _one(model, task, n):
    word = task["prompt"]
    if word == "crash":
        os._exit(3)
    if word == "once" and _first(model, "once"):
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "hang":
        time.sleep(1000)
    if word == "mute":
        os.kill(os.getpid(), signal.SIGSTOP)
    if word == "raise":
        print("stderr CANARY", file=sys.stderr)
        raise ValueError("cannot read CANARY")
    if word == "memory" and n > 1:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if word == "lost" and _first(model, "lost"):
        raise RuntimeError("CUDA error: device-side assert triggered")
    if word == "ask":
        input("run custom code? ")
    if word == "garbage":
        _write(b"Loading checkpoint shards: 100%\n")
    if word == "nan":
        _write(_frame(b'{"kind": "answers", "batch": 1, "answers": [NaN]}'))
    if word == "latin":
        _write(_frame(b'{"kind": "\xe9"}'))
    if word == "list":
        _write(_frame(b"[]"))
    if word == "not_a_number":
        return {"text": "x", "score": float("nan")}
    if word == "number":
        return {"text": 7}
    if word == "cut":
        return {"text": "Cut short", "finished": False, "tokens_out": 3}
    if word == "think":
        return {"text": "<think>An effusion?</think> Clear."}
    if word == "only think":
        return {"text": "[THINK]An effusion?", "finished": False}
    if word == "child":
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
        return {"text": str(pid)}
    if word == "env":
        return {"text": " ".join(sorted(os.environ))}
    if word == "unfinished":
        return {"text": "x", "finished": None}
    if word in ("counted", "below"):
        return {"text": "x", "tokens_in": True if word == "counted" else -1}
    return {"text": "{} {}".format(task["study"], " ".join(map(_pixels, task["images"])))}


def _pixels(path):
    with open(path, "rb") as handle:
        return hashlib.sha256(handle.read()).hexdigest()[:8]


def _first(model, name):
    path = os.path.join(model["marks"], name)
    if os.path.exists(path):
        return False
    open(path, "w").close()
    return True


def _frame(data):
    return struct.pack(">I", len(data)) + data


def _write(data):
    channel = next(o for o in gc.get_objects() if type(o).__name__ == "Channel")
    channel._out.write(data)
    channel._out.flush()
