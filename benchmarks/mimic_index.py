"""Measure how long a MIMIC-CXR tree of 230,000 studies takes to become the official test cohort.

The tree is metadata only (65,000 patients, 377,000 images, no pixels) with invented reports in the
zip. Limits: under 60 s and 2 GiB from nothing, under 3 s the second time.
"""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

SUBJECTS, STUDIES, IMAGES = 65_000, 230_000, 377_000
# The test patients have more studies than others: 293 have 3,269, 500 of validate have 1,808.
TEST_SUBJECTS, TEST_STUDIES, VALIDATE_SUBJECTS, VALIDATE_STUDIES = 293, 3_269, 500, 1_808
VIEWS = ("AP", "AP", "PA", "LATERAL", "LL", "")
REPORT = """                                 INVENTED TEXT
 EXAMINATION:  CHEST RADIOGRAPH

 INDICATION:  Number {n} with a cough.

 COMPARISON:  None.

 FINDINGS:

 Both lungs are clear. The heart has the size of {size} fists. No effusion is seen, and the
 upper mediastinum is of ordinary width. Sentence {n} is there to make texts differ.

 IMPRESSION:

 Nothing urgent.
"""
WRITE = """
import pathlib, sys
from benchmarks.mimic_index import write_tree
write_tree(pathlib.Path(sys.argv[1]))
"""
# A process per measurement, so that each peak is its own.
CODE = """
import resource, sys, time
began = time.perf_counter()
from reportcard.data.cohort import load_cohort
from reportcard.config.settings import Plugin
options = dict(root=sys.argv[1], lateral_select="first", prior_select="previous")
options.update(word.split("=") for word in sys.argv[2:])
cohort = load_cohort(Plugin("mimic_cxr", "mimic", options))
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(seconds, peak, len(cohort.test), len(cohort.train), cohort.fingerprint[:8])
"""


def studies() -> Iterator[tuple[int, int, str, int]]:
    """Yield (subject, study, split, images) of every study, in about the numbers of the release."""
    draw = random.Random(0)
    test, held_out = range(TEST_SUBJECTS), range(TEST_SUBJECTS, TEST_SUBJECTS + VALIDATE_SUBJECTS)
    subject_of = [
        *range(SUBJECTS),
        *draw.choices(test, k=TEST_STUDIES - len(test)),
        *draw.choices(held_out, k=VALIDATE_STUDIES - len(held_out)),
    ]
    rest = range(held_out.stop, SUBJECTS)
    subject_of = sorted([*subject_of, *draw.choices(rest, k=STUDIES - len(subject_of))])
    second = set(draw.sample(range(STUDIES), IMAGES - STUDIES))
    numbers = draw.sample(range(STUDIES), STUDIES)
    for row, subject in enumerate(subject_of):
        split = "test" if subject in test else "validate" if subject in held_out else "train"
        images = 2 if row in second else 1
        yield 10_000_000 + subject * 100, 50_000_000 + numbers[row] * 7, split, images


def write_tree(root: Path) -> None:
    """Write the two tables of MIMIC-CXR-JPG and the zip of reports."""
    draw = random.Random(1)
    text_root, jpg_root = root / "mimic-cxr/2.1.0", root / "mimic-cxr-jpg/2.1.0"
    text_root.mkdir(parents=True)
    jpg_root.mkdir(parents=True)
    split = ["dicom_id,study_id,subject_id,split"]
    metadata = [
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,"
        "StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
        "PatientOrientationCodeSequence_CodeMeaning"
    ]
    with zipfile.ZipFile(text_root / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n, (subject, study, part, images) in enumerate(studies()):
            name = f"files/p{subject // 1_000_000}/p{subject}/s{study}.txt"
            text = REPORT.format(n=n, size=draw.randrange(1, 9)).replace("\n\n", "\n \n")
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED, 1)
            date = f"21{draw.randrange(10, 99)}{draw.randrange(1, 13):02}{draw.randrange(1, 29):02}"
            for _ in range(images):
                digits = f"{draw.getrandbits(160):040x}"
                dicom = "-".join(digits[i : i + 8] for i in range(0, 40, 8))
                split.append(f"{dicom},{study},{subject},{part}")
                metadata.append(
                    f"{dicom},{subject},{study},CHEST (PORTABLE AP),{draw.choice(VIEWS)},2544,3056,"
                    f"{date},{draw.randrange(24) * 10_000 + draw.random():.3f},CHEST,view,Erect"
                )
    for name, lines in (("split", split), ("metadata", metadata)):
        path = jpg_root / f"mimic-cxr-2.0.0-{name}.csv.gz"
        path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), 1))


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        # In its own process, because a child process starts with its parent's peak memory.
        subprocess.run([sys.executable, "-c", WRITE, folder], check=True)
        print(f"{STUDIES:,} studies of {SUBJECTS:,} patients, {IMAGES:,} images")
        print("                          seconds   peak GiB    test   train   limit")
        for what, options, limit in (
            ("from nothing", [], 60.0),
            ("from the index", [], 3.0),
            ("index, pairs", ["unit=pair"], 3.0),
            ("index, all train reports", ["train_part=train"], None),
        ):
            done = subprocess.run(
                [sys.executable, "-c", CODE, folder, *options],
                capture_output=True,
                text=True,
                check=True,
            )
            *numbers, _ = done.stdout.split()
            seconds, peak, test, train = map(float, numbers)
            over = limit is not None and (seconds > limit or peak > 2)
            failed += over
            verdict = "" if limit is None else f"{limit:5.0f} s{' EXCEEDED' if over else ''}"
            print(
                f"{what:24} {seconds:8.2f} {peak:10.2f} {test:7,.0f} {train:7,.0f} {verdict}",
                flush=True,
            )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
