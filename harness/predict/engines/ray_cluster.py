"""Asks the Ray cluster at an address what it has, for `reportcard doctor`.

It asks in a process of its own, which can be stopped: Ray gives no time limit for an address where
nobody answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version

ASK = """
import json, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
print(json.dumps([len(nodes), *(sum(n.get(k, 0) for n in nodes) for k in ("CPU", "GPU"))]))
"""


def ray_version() -> str:
    """Return the version of the installed package, without importing it."""
    return version("ray")


def look_at(address: str, timeout_s: float = 30.0) -> tuple[bool, str]:
    """Return whether a cluster answers at an address, and a sentence about what it has."""
    command = [sys.executable, "-W", "ignore", "-c", ASK, address]
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    try:
        done = subprocess.run(  # noqa: S603 (no shell)
            command, env=env, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return False, f"{address}: no answer within {timeout_s:g} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode:
        return False, f"{address}: {lines[-1][:200] if lines else 'it cannot be joined'}"
    nodes, cpus, gpus = json.loads(lines[-1])
    return True, f"{address}: nodes {nodes}, CPUs {cpus:g}, GPUs {gpus:g}"
