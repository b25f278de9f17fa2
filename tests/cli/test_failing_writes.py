"""Each write of every command fails: one paragraph, and the older file is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import picture_net, run_command, write

import lrp_onnx.graph.atomic_files as atomic_files

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
