"""A file that is written is the old one or the new one, whatever happens on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks, forks and limits of POSIX")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}

HOLDING = """
import sys, time
from pathlib import Path
from lrp_onnx.graph.temporary import temporary_folder

with temporary_folder(Path(sys.argv[1])) as folder:
    (folder / "large").write_bytes(bytes(999))
    print(folder, flush=True)
    if len(sys.argv) > 2:
        time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    held = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDING, str(tmp_path), "wait"],
            stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )
        for _ in range(2)
    ]  # fmt: skip
    folders = [Path(str(process.stdout and process.stdout.readline()).strip()) for process in held]
    held[0].kill()
    held[0].communicate()
    for folder in folders:  # as if they had been at it for a minute
        os.utime(folder, (time.time() - 60,) * 2)
    subprocess.run(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        check=True, capture_output=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert [folder.exists() for folder in folders] == [False, True]
    held[1].kill()
    held[1].communicate()
