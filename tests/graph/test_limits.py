"""What is computed in a process of its own is computed as here."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrp_onnx.graph.limits import Budget, limited


def test_a_path_is_relative_to_where_this_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(60.0, 10**9, 0)
    for name in ("first", "second"):  # in one process
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        monkeypatch.chdir(tmp_path / name)
        assert limited(budget, "reading", Path.read_text, Path("file")) == name


PROGRAM = """
import os, signal, sys, threading, time
from lrp_onnx.graph import limits

helper = limits._idle()
limits.IDLE.append(helper)
print(helper.process.pid, flush=True)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
limits.limited(limits.Budget(0.5, 2**30, 0), "a long sleep", time.sleep, 600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no list of processes")
def test_what_is_computed_for_a_killed_process_ends_too() -> None:
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    place, until = Path("/proc", killed.stdout.strip(), "stat"), time.monotonic() + 60
    while place.exists() and place.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "it goes on without end"
        time.sleep(0.1)
