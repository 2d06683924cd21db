"""The model of tests/predict/test_engines.py, written out as a plugin file: it answers from the
request alone, except that `fault.json` beside it, read at each batch, can name a study and what
befalls the process on it. So a fault changes neither options nor fingerprint."""

SOURCE = '''
import json
import os
import signal
import time
from pathlib import Path

from reportcard.api import ModelCard, Prediction, Report


class Faulty:
    """Answers from the request, and fails as it is told to."""

    def __init__(self):
        self.place = Path(__file__).parent
        self.card = ModelCard("faulty", draws=2)
        self.notes = ()

    def plan(self, requests):
        self.notes = (f"{len(requests)} requests were planned",)
        if self.fault().get("kind") == "start":
            os.kill(os.getpid(), signal.SIGKILL)

    def fault(self):
        path = self.place / "fault.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def generate(self, requests):
        fault = self.fault()
        with open(self.place / "calls", "a") as calls:
            calls.write(f"{os.getpid()} {[(r.study_id, r.draw) for r in requests]}" + chr(10))
        time.sleep(fault.get("sleep", 0.0))
        for request in requests:
            if request.study_id in fault.get("studies", ()) and request.draw == 0:
                self.befall(fault["kind"])
        return [
            Prediction(r.study_id, Report(f"Report of {r.study_id}, draw {r.draw}. " * 300),
                       draw=r.draw)
            for r in requests
        ]

    def befall(self, kind):
        if kind == "raise":
            raise RuntimeError("no forward pass")
        if kind == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            (self.place / "happened").touch(exist_ok=False)
        except FileExistsError:
            return
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(3600)
'''
