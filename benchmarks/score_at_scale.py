"""Measure `reportcard score` on 250,000 and 1,000,000 pairs. Target: peak memory under 4 GiB.

    python -m benchmarks.score_at_scale [250000 1000000]

The cohort is a table of invented reports (dataset=folder), and the predictions are written as those
of a finished run; then the real command scores them. Candidates and references are drawn from 5,000
texts, because f1_chexpert_rules reads each different text once, about a thousand per second, which
would otherwise be most of the time.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reportcard.api import Prediction, Report
from reportcard.cli.main import main as reportcard
from reportcard.config.compose import load
from reportcard.core.files import file_digest, jsonl, write_json
from reportcard.core.layout import Results
from reportcard.data.cohort import load_cohort
from reportcard.data.sources.phantom import Phantom
from reportcard.predict.predictions_file import to_json
from reportcard.predict.system import open_model

SIZES = (250_000, 1_000_000)
METRICS = "f1_chexpert_rules,bleu,rouge"
LIMIT_GIB = 4.0


def sentences() -> list[str]:
    """Return the different sentences of the phantom's reports."""
    studies = Phantom(test=400, train=0).select().test
    reports = [study.reference.findings or "" for study in studies]
    return sorted({f"{s.strip()}." for report in reports for s in report.split(".") if s.strip()})


def reports(rng: random.Random) -> list[str]:
    said = sentences()
    return [" ".join(rng.sample(said, rng.randint(2, 6))) for _ in range(5_000)]


def overrides(folder: Path) -> list[str]:
    return [
        *("dataset=folder", f"dataset.root={folder / 'data'}", "model=fixed_normal_report"),
        *(f"results_dir={folder / 'results'}", f"metrics={METRICS}", "tracking=none"),
    ]


def prepare(folder: Path, n: int) -> None:
    """Write the table of reports and the predictions of a finished run, line by line."""
    rng = random.Random(0)
    texts = reports(rng)
    (folder / "data").mkdir()
    with (folder / "data" / "studies.csv").open("w", encoding="utf-8") as table:
        table.write("study_id,patient_id,findings,indication,age,sex\n")
        for i in range(n):
            table.write(f's{i:07},p{i // 2:07},"{rng.choice(texts)}",cough,{40 + i % 50},F\n')
    config = load(overrides(folder))
    cohort = load_cohort(config.datasets[0])
    system = open_model(config.models[0], cohort)
    run = Results(config.results_dir).predictions(cohort.folder, system.folder).path
    run.mkdir(parents=True)
    path = run / "predictions.jsonl"
    with path.open("wb") as lines:
        for study in cohort.test:
            answer = Prediction(study.study_id, Report(rng.choice(texts)))
            lines.write(jsonl([to_json(answer)]))
    done = {"predictions_sha256": file_digest(path), "n": n, "draws": 1, "status": {"ok": n}}
    write_json(run / "DONE", done)


def measure(folder: Path) -> None:
    """Run and time the command; this process's peak memory is that of the command."""
    began = time.perf_counter()
    code = reportcard(["score", *overrides(folder)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{time.perf_counter() - began:.1f} {peak:.2f}")
    sys.exit(code)


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["measure"]:
        return measure(Path(words[1]))
    if words[:1] == ["prepare"]:
        return prepare(Path(words[1]), int(words[2]))
    print(f"      pairs   seconds   µs/pair   peak GiB   (target below {LIMIT_GIB:g})")
    for n in [int(word) for word in words] or SIZES:
        with tempfile.TemporaryDirectory() as name:
            for part in (["prepare", name, str(n)], ["measure", name]):
                command = [sys.executable, "-m", "benchmarks.score_at_scale", *part]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds, peak = (float(word) for word in done.stdout.splitlines()[-1].split())
        print(f"{n:11,} {seconds:9.1f} {1e6 * seconds / n:9.0f} {peak:10.2f}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
