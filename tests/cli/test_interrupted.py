"""Ctrl-C before the command has begun and after it has ended: one sentence, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import importlib.abc, os, signal, sys

class Interrupts(importlib.abc.MetaPathFinder):
    "Presses Ctrl-C when a module is looked for."
    def find_spec(self, name, path, target=None):
        if name == moment:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

moment = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
import atexit
if moment == "the end":
    atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
from lrp_onnx.__main__ import run
sys.argv = ["lrp-onnx", "ops", "Conv"]
sys.exit(run())
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("moment", ["typer", "numpy", "onnx_ir", "the end"])
def test_interrupted_around_the_command(moment: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, moment],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    if moment == "the end":
        assert (done.returncode, done.stderr) == (0, "")
        assert "Conv" in done.stdout
    else:
        assert done.stderr == "lrp-onnx: interrupted; nothing was written.\n", done
        assert (done.returncode, done.stdout) == (2, "")
