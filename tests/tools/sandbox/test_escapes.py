"""Attack 9: what hostile code tries is stopped in every way this machine offers, for root and for an ordinary user."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.rig.server import ROOT
from tests.tools.sandbox.attacks import ALONE, QUICK

NOBODY = 65_534
IS_ROOT = os.geteuid() == 0
STOPPED = {
    "takes_10_gb_in_small_pieces": {"memory"},
    "takes_10_gb_of_disk": {None, "disk"},
    "fills_sockets": {None, "memory"},
    "makes_empty_files": {"memory", "disk"},
    "ignores_signals_and_hangs": {"time"},
    "prints_without_end": {"output"},
    "answers_without_end": {"output"},
}
"""The limit that ends each; the others end by themselves."""


def attacked(user: int) -> dict[str, Any]:
    """What came of all attacks, by way and name, for a server that runs as this user."""
    modules = ["tests.tools.sandbox.attacks"]
    if IS_ROOT:
        modules[:0] = ["tests.tools.sandbox.elsewhere", str(user)]
    done = subprocess.run(
        [sys.executable, "-m", *modules], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("user", (0, NOBODY) if IS_ROOT else (os.geteuid(),))
def test_attack_9_hostile_code_stays_apart(user: int):
    report = attacked(user)
    assert {"namespaces", "landlock"} <= report.keys()
    quick: set[str] = set()
    for way, came in report.items():
        assert came.keys() == {"quick", *ALONE}, (way, came)
        for line in came.pop("quick")["said"].strip().splitlines():
            assert "held" in line, (way, line)
            assert "BREACH" not in line, (way, line)
            quick.add(line.partition(":")[0])
        assert quick == QUICK.keys()
        for name, outcome in came.items():
            where = (way, name, outcome)
            assert "BREACH" not in outcome["said"], where
            assert outcome["left"] == [], where
            assert outcome["stopped"] in STOPPED.get(name, {None}), where
            if outcome["stopped"] is None:
                assert outcome["code"] == 0, where
                assert "held" in outcome["said"], where
