"""`explain` of a folder: a run that was ended goes on, nothing twice and nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import picture_net, run_command, write

from lrp_onnx.answer import explain_folder

Capture = pytest.CaptureFixture[str]
COMMAND = ["model.onnx", "in", "-o", "why", "--batch", "1"]
NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and a folder of four arrays."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.onnx", picture_net())
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(3)
    for name in NAMES:
        np.save(tmp_path / "in" / f"{name}.npy", rng.standard_normal((1, 8, 8), np.float32))
    return tmp_path


def answers(place: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in place.iterdir() if p.suffix in (".png", ".json")}


def test_an_ended_run_goes_on(
    inputs: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result, count = explain_folder.write_result, 0

    def ended(*arguments: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return write_result(*arguments, **options)

    monkeypatch.setattr(explain_folder, "write_result", ended)
    stopped = run_command(capsys, *COMMAND)
    assert stopped.status == 2
    assert "2 of 4 files are explained, and their answers stay in 'why'" in stopped.err
    assert sorted(answers(Path("why"))) == ["a.png", "b.png"]
    with Path("why/.lrp-onnx.jsonl").open("a") as record:
        record.write('{"file": "c.npy", "sta')  # killed while a line was written
    resumed = run_command(capsys, *COMMAND)
    assert (resumed.status, count) == (0, 5)  # the third that was ended, then two
    assert "kept       2 files that an earlier run has explained" in resumed.out
    assert "2 files into why" in resumed.out
    shutil.copytree("why", "resumed")
    shutil.rmtree("why")
    run_command(capsys, *COMMAND)
    assert answers(Path("why")) == answers(Path("resumed"))
    assert len(json.loads(Path("why/predictions.json").read_text())) == 4
    assert run_command(capsys, *COMMAND).out.count("4 files that an earlier run") == 1


CHANGED = {
    "another input": lambda: np.save("in/b.npy", np.ones((1, 8, 8), np.float32)),
    "an answer that is gone": lambda: Path("why/b.png").unlink(),
}


@pytest.mark.parametrize("change", CHANGED)
def test_what_has_changed_is_explained_again(change: str, inputs: Path, capsys: Capture) -> None:
    run_command(capsys, *COMMAND)
    CHANGED[change]()
    again = run_command(capsys, *COMMAND)
    assert "kept       3 files" in again.out
    assert "1 files into why" in again.out
    assert "kept" not in run_command(capsys, *COMMAND, "--composite", "epsilon").out


@pytest.mark.parametrize(
    "text", ["", "[1]\n", "{}\n{}\n", '{"depends": "OWN"}\n{"file": "a.npy"}\n']
)
def test_a_record_that_is_none_is_written_anew(text: str, inputs: Path, capsys: Capture) -> None:
    """As a run leaves it that was killed before its first line, or somebody else."""
    run_command(capsys, *COMMAND)
    record = Path("why/.lrp-onnx.jsonl")
    own = json.loads(record.read_text().splitlines()[0])["depends"]
    record.write_text(text.replace("OWN", own))
    assert "4 files into why" in run_command(capsys, *COMMAND).out
    assert "4 files that an earlier run" in run_command(capsys, *COMMAND).out


def test_a_record_that_cannot_be_read_is_told(inputs: Path, capsys: Capture) -> None:
    Path("why/.lrp-onnx.jsonl").mkdir(parents=True)
    refused = run_command(capsys, *COMMAND)
    assert (refused.status, refused.out) == (2, "")
    assert "jsonl': Is a directory. Choose a folder" in refused.err
