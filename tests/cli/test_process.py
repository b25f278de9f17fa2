"""The command as a process of its own: interrupted, without a disk, a stream or a home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bad_files import (
    assert_refused,
    folder_with_older_results,
    is_one_paragraph,
    make_files,
    state,
)
from commands import Outcome


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return folder_with_older_results(tmp_path, monkeypatch)


SLOW = """
import signal, sys, time
from lrp_onnx.cli import main as cli
from lrp_onnx.compiler import compiled, stages

# a shell that runs the tests in the background has SIGINT ignored, which children inherit
signal.signal(signal.SIGINT, signal.default_int_handler)

def slow(*given):
    print("now", flush=True)
    time.sleep(60)

{patch}
sys.exit(cli.main(["compile", "model.onnx", "-o", "older.onnx"]))
"""


MOMENTS = {
    "while a stage runs": "stages.lower = slow",
    "while the file is written": "compiled.Compiled.model = property(slow)",
}


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted(moment: str, folder: Path) -> None:
    make_files("model.onnx", folder)
    before = state(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(patch=MOMENTS[moment])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert is_one_paragraph(err)
    assert "interrupted" in err
    assert state(folder) == before


@pytest.mark.parametrize("model", ["absent.onnx", "dangling.onnx", "names.onnx"])
def test_a_real_process_says_the_same(model: str, folder: Path) -> None:
    """Also what libraries write to stderr by themselves is not there."""
    make_files(model, folder)
    done = subprocess.run(
        [sys.executable, "-m", "lrp_onnx", "compile", model, "-o", "older.onnx"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert done.stdout == ""
    assert_refused(Outcome(done.returncode, done.stdout, done.stderr), [model])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_behind_stdout(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lrp_onnx", "rules"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
        )  # fmt: skip
    assert_refused(Outcome(done.returncode, "", done.stderr), ["standard output", "space"])


def test_an_error_nobody_foresaw_is_a_paragraph_too(folder: Path) -> None:
    program = (
        "import sys; from lrp_onnx.cli import main as cli; from lrp_onnx.compiler import stages; "
        "stages.lower = None; "
    )
    make_files("model.onnx", folder)
    done = subprocess.run(
        [sys.executable, "-c", program + "sys.exit(cli.main(sys.argv[1:]))",
         "compile", "model.onnx", "-o", "older.onnx"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert_refused(Outcome(done.returncode, done.stdout, done.stderr), ["bug", "--debug"])


def test_the_paragraph_check_fails_on_two_lines() -> None:
    assert is_one_paragraph("lrp-onnx: one thing.\n")
    assert not is_one_paragraph("lrp-onnx: one thing.\nTraceback.\n")
    assert not is_one_paragraph("one thing.\n")


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the stream")
def test_a_closed_stdout_and_a_narrow_encoding_are_no_error(folder: Path) -> None:
    command = f'"{sys.executable}" -m lrp_onnx'
    narrow = {
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path),
    }
    done = subprocess.run(
        f"{command} ops Conv && {command} ops Conv >&-",
        shell=True, capture_output=True, text=True, check=False, env={**os.environ, **narrow},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Conv" in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_names_that_are_no_text_and_no_home(folder: Path) -> None:
    """Bytes that the encoding does not know, in the names of all files; nowhere to keep a cache."""
    make_files("model.onnx image.npy", folder)
    names = [os.fsdecode(name) for name in (b"a\xff.onnx", b"b\xff.npy", b"c\xff.png")]
    for old, new in zip(("model.onnx", "image.npy"), names, strict=False):
        (folder / old).rename(folder / new)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "lrp_onnx", "explain", *names[:2], "-o", names[2], "--quiet"],
        capture_output=True, text=True, check=False,
        env=environment | {"LC_ALL": "POSIX", "HOME": "/proc/nowhere"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / names[2]).is_file()
    assert "mkdir" not in done.stderr


def test_an_error_of_several_lines_that_nobody_foresaw() -> None:
    program = (
        "import sys; from lrp_onnx.cli import main as cli\n"
        "class Odd:\n"
        "    def __getattr__(self, name): raise TypeError('first\\nsecond\\x1b[31m')\n"
        "cli.app = Odd(); cli.main(['rules'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert_refused(Outcome(done.returncode, done.stdout, done.stderr), ["bug", "first second"])
