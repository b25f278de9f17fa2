"""The scripts of model_zoo_scripts say what they take, without doing their work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "model_zoo_scripts"


@pytest.mark.parametrize("name", ["gallery", "obtain", "sweep"])
def test_help_is_help(name: str, tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / f"{name}.py", "--help"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: {name}.py")
    assert not list(tmp_path.iterdir())
