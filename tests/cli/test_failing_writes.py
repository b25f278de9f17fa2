"""Each write of every command fails: one paragraph, and the older file is whole."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import picture_net, run_command, write
from pyarrow import parquet

import lrp_onnx.graph.atomic_files as atomic_files
from lrp_onnx.cli.main import main
from lrp_onnx.graph import temporary
from lrp_onnx.scale import engine
from lrp_onnx.scale.engine import Crew
from lrp_onnx.scale.plan import Shard
from lrp_onnx.scale.worker import Job

COMMANDS = {
    "compile": "compile model.onnx -o out.onnx",
    "explain, a picture": "explain model.onnx image.npy -o out.png",
    "explain, a page": "explain model.onnx image.npy -o out.html",
    "explain, numbers": "explain model.onnx image.npy -o out.npz",
    "explain, a folder": "explain model.onnx image.npy again.npy -o out/",
    "inspect": "inspect model.onnx --graph out.svg",
    "concepts": "concepts model.onnx image.npy again.npy --at h -o out.png",
    "evaluate": "evaluate model.onnx many.npy --composite epsilon --tune out.toml",
    "export web": "export web model.onnx -o out/ --preprocess unit --runtime-url https://example.org/",
    "export triton": "export triton model.onnx -o out/",
    "demo": "demo -o .",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "model.onnx", picture_net())
    rng = np.random.default_rng(0)
    for name, count in (("image", 1), ("again", 1), ("many", 4)):
        images = rng.standard_normal((count, 1, 8, 8)).astype(np.float32)
        np.save(tmp_path / f"{name}.npy", images)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def failing(at: int, error: int) -> tuple[Callable[..., None], list[str]]:
    """os.replace whose call number `at` raises, and the names that were asked for."""
    asked: list[str] = []
    replace = os.replace

    def once(source: Path, target: Path) -> None:
        asked.append(Path(target).name)
        if len(asked) > at:
            raise OSError(error, os.strerror(error), str(source))
        replace(source, target)

    return once, asked


@pytest.mark.parametrize("command", COMMANDS)
def test_a_write_that_fails(
    command: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = COMMANDS[command].split()
    first = run_command(capsys, *words)
    assert first.status == 0, first
    made = state(folder)
    for at, error in enumerate((errno.ENOSPC, errno.EACCES)):
        once, asked = failing(at, error)
        with monkeypatch.context() as faulty:
            faulty.setattr(atomic_files.os, "replace", once)
            outcome = run_command(capsys, *words)
        assert "Traceback" not in outcome.err, outcome
        if at and len(asked) <= at:
            continue
        assert outcome.status in (1, 2), outcome
        assert asked[at] in outcome.err, outcome
        now = state(folder)
        assert now.keys() == made.keys(), "a half file is left"
        assert now[next(n for n in now if n.endswith(asked[at]))], "the older file is empty"


def killed_at(at: int, words: list[str]) -> bool:
    """Whether a process that runs the command was killed where it renames for the `at`-th time."""
    child = os.fork()
    if not child:
        once, asked = failing(at, errno.EINTR)

        def replace(source: Path, target: Path) -> None:
            if len(asked) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            once(source, target)

        pytest.MonkeyPatch().setattr(atomic_files.os, "replace", replace)
        os._exit(main([*words, "--quiet"]))
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be copied there")
@pytest.mark.parametrize(
    ("command", "at"),
    [
        ("compile", 0),
        ("export web", 2),
        ("export triton", 1),
        ("evaluate", 0),
        ("explain, a page", 0),
        ("concepts", 0),
    ],
)
def test_a_run_that_is_killed(
    command: str,
    at: int,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each file is the older or the newer one, whole; the next run removes what is left."""
    words, given = COMMANDS[command].split(), state(folder).keys()
    run_command(capsys, *words)
    made = state(folder)
    for name in made.keys() - given:
        (folder / name).write_bytes(b"older")
    assert killed_at(at, words)
    now = state(folder)
    left = {p for p in folder.rglob(f"{temporary.PREFIX}*") if p.is_dir()}
    assert left, "killed before anything was written"
    for name in made.keys() - given:
        assert now[name] in (b"older", made[name]), f"{name} is half a file"
    assert sum(now[name] != b"older" for name in made.keys() - given) == at
    monkeypatch.setattr(temporary, "SEEN", set())
    monkeypatch.setattr(temporary, "NEW", -1.0)
    run_command(capsys, *words)
    assert state(folder).keys() == made.keys()


COMMAND = "batch model.onnx many.npy -o run --shard 2 --resume --quiet --workers 1"
BATCH = COMMAND.split()


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are explained one after the other in this process."""

    def explain_shards(job: Job, shards: Sequence[Shard], crew: Crew) -> Iterator[dict[str, Any]]:
        worker = engine._Actor(job)
        for block in engine._blocks(shards):
            yield from engine.checked_rows(worker(block).to_pylist())

    monkeypatch.setattr("lrp_onnx.scale.engine.explain_shards", explain_shards)
    monkeypatch.setattr("lrp_onnx.cli.batch._check_extra", lambda: None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be copied there")
@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("fault", ["disk full", "kill"])
def test_a_batch_that_fails_at_any_write_goes_on(
    fault: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan, the model, the manifest, each part, the manifest again: then a second run ends with
    the rows of one that nothing befell.
    """
    assert run_command(capsys, *BATCH).status == 0
    whole = parquet.read_table("run/parts")
    for at in range(6):
        shutil.rmtree("run")
        if fault == "kill":
            assert killed_at(at, BATCH)
        else:
            once, asked = failing(at, errno.ENOSPC)
            with monkeypatch.context() as faulty:
                faulty.setattr(atomic_files.os, "replace", once)
                outcome = run_command(capsys, *BATCH)
            assert outcome.status in (1, 2), outcome
            assert asked[at] in outcome.err, outcome
        monkeypatch.setattr(temporary, "SEEN", set())
        monkeypatch.setattr(temporary, "NEW", -1.0)
        assert run_command(capsys, *BATCH).status == 0
        assert parquet.read_table("run/parts").equals(whole)
        assert not [*Path("run").rglob(f"{temporary.PREFIX}*")]
