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

FAULTS = """
import os, resource, sys
from pathlib import Path
from lrp_onnx.errors import OutputError
from lrp_onnx.graph.atomic_files import atomic

place, kind = Path(sys.argv[1]), sys.argv[2]
target, old, new = place / "out.onnx", b"old" * 3000, b"new" * 5000
steps = None  # how many are left until the fault

def fault(event, arguments):
    global steps
    if steps is None or not event.startswith(("open", "os.", "tempfile", "shutil")):
        return
    if not str(place) in str(arguments):
        return
    steps -= 1
    if steps < 0 and kind == "kill":
        os._exit(9)
    if steps == -1:
        raise OSError(28 if kind == "disk full" else 13, "fault", str(arguments[0]))

def one(at):
    global steps
    target.write_bytes(old)
    steps = at
    try:
        with atomic(target) as path:
            path.write_bytes(new)
        return True
    except OutputError:
        return False
    finally:
        left, steps = steps, None
        assert target.read_bytes() in (old, new), "neither old nor new"

sys.addaudithook(fault)
for at in range(30):
    child = os.fork()
    if not child:
        try:
            done = one(at)
            assert done == (target.read_bytes() == new) or kind != "kill"
        except BaseException as e:
            print(repr(e), flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), status
    assert target.read_bytes() in (old, new), "neither old nor new"
for size in (0, 1, 4096, 9000):
    target.write_bytes(old)
    if not os.fork():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            with atomic(target) as path:
                path.write_bytes(new)
        except OutputError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    assert target.read_bytes() == old
print("whole")
"""


@pytest.mark.parametrize("kind", ["disk full", "permission", "kill"])
def test_each_step_of_a_write_may_fail(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, str(tmp_path), kind],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.stdout == "whole\n", done


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
