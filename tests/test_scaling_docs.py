"""docs/scaling.md: what can be checked of its recipes without SLURM and Kubernetes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reportcard.config.compose import load
from reportcard.config.settings import EngineSettings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "scaling.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_shell_blocks_are_shell() -> None:
    scripts = blocks("sh")
    assert any("#SBATCH" in script for script in scripts)
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_the_kuberay_job_is_a_rayjob_of_the_ray_that_is_pinned() -> None:
    (job,) = (yaml.safe_load(block) for block in blocks("yaml"))
    assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    (limit,) = workers["template"]["spec"]["containers"][0]["resources"]["limits"].items()
    assert limit == ("nvidia.com/gpu", 1)
    constraints = (ROOT / "constraints.txt").read_text()
    if pinned := re.search(r"^ray==(\S+)", constraints, re.MULTILINE):
        assert cluster["rayVersion"] == pinned[1]


def test_engine_options_that_the_page_names_exist() -> None:
    named = set(re.findall(r"engine\.([a-z_]+)", TEXT))
    assert named
    assert named <= set(EngineSettings.__dataclass_fields__)
    assert load(["engine=ray", "engine.replicas=4"]).engine.replicas == 4


def test_make_passes_the_engine() -> None:
    command = ["make", "--no-print-directory", "-n", "benchmark", "ENGINE=ray", "engine.replicas=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split()[3:] == ["engine=ray", "'engine.replicas=2'"]


@pytest.mark.slow
def test_ray_has_the_command_of_the_page() -> None:
    pytest.importorskip("ray", reason="the ray extra is not installed")
    ray = Path(sys.executable).parent / "ray"
    done = subprocess.run([ray, "symmetric-run", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    (line,) = re.findall(r"symmetric-run (.*?) -- ", TEXT.replace("\\\n", " "))
    for option in re.findall(r"--[a-z-]+", line):
        assert option in done.stdout
