"""Each step of whatever is written fails: one paragraph, and the older file is whole."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import picture_net, write
from faults import faults_of, files_of
from onnx import parser
from pyarrow import parquet

import lrp_onnx
from lrp_onnx.cli.main import main
from lrp_onnx.compiler import compiled
from lrp_onnx.graph import atomic_files
from lrp_onnx.scale import engine
from lrp_onnx.scale.engine import Crew
from lrp_onnx.scale.plan import Shard
from lrp_onnx.scale.worker import Job

TABLE = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x) => (float[N,4] y) { y = Tanh(x) }
"""


def saved(name: str) -> int:
    image = np.load("image.npy")
    if name.startswith("heat"):
        lrp_onnx.save_heatmap(name, image[0])
    else:
        lrp_onnx.explain("model.onnx", image).save(name)
    return 0


WRITERS: dict[str, str] = {
    "compile": "compile model.onnx -o out.onnx",
    "compile, in two files": "compile model.onnx -o out.onnx",
    "explain, a picture": "explain model.onnx image.npy -o out.png",
    "explain, a drawing": "explain model.onnx image.npy -o out.svg",
    "explain, a page": "explain model.onnx image.npy -o out.html",
    "explain, numbers": "explain model.onnx image.npy -o out.npz",
    "explain, a table": "explain table.onnx rows.csv -o out.csv",
    "explain, a folder": "explain model.onnx image.npy again.npy -o out/",
    "inspect": "inspect model.onnx --graph out.svg",
    "concepts": "concepts model.onnx image.npy again.npy --at h -o out.png",
    "evaluate": "evaluate model.onnx many.npy --composite epsilon -o out.png",
    "evaluate, tuned": "evaluate model.onnx many.npy --composite epsilon --tune out.toml",
    "export web": "export web model.onnx -o out/ --preprocess unit --runtime-url https://example.org/",
    "export triton": "export triton model.onnx -o out/",
    "demo": "demo -o .",
    "batch": "batch model.onnx many.npy -o run --shard 2 --resume --workers 1",
    "batch, goes on": "batch model.onnx many.npy -o run --shard 2 --resume --workers 1",
    "Explanation.save": "why.png",
    "save_heatmap": "heat.png",
}
OLDER = {"compile, in two files": "compile model.onnx -o out.onnx --composite epsilon"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "here"
    place.mkdir()
    write(place / "model.onnx", picture_net())
    write(place / "table.onnx", parser.parse_model(TABLE))
    (place / "rows.csv").write_text("a,b,c,d\n1,2,3,4\n4,3,2,1\n")
    rng = np.random.default_rng(0)
    for name, number in (("image", 1), ("again", 1), ("many", 4)):
        images = rng.standard_normal((number, 1, 8, 8)).astype(np.float32)
        np.save(place / f"{name}.npy", images)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are explained one after the other in this process."""

    def explain_shards(job: Job, shards: Sequence[Shard], crew: Crew) -> Iterator[dict[str, Any]]:
        worker = engine._Actor(job)
        for block in engine._blocks(shards):
            yield from engine.checked_rows(worker(block).to_pylist())

    monkeypatch.setattr("lrp_onnx.scale.engine.explain_shards", explain_shards)
    monkeypatch.setattr("lrp_onnx.cli.batch._check_extra", lambda: None)


def program_of(writer: str) -> Callable[[], int]:
    words = WRITERS[writer].split()
    if len(words) == 1:
        return lambda: main_like(words[0])
    return lambda: main([*words, "--quiet"])


def main_like(name: str) -> int:
    """A call from Python, whose error is told as the command tells its own."""
    try:
        return saved(name)
    except lrp_onnx.OutputError as e:
        print(f"lrp-onnx: {e}", file=sys.stderr)
        return 2


def make_older(writer: str, folder: Path, given: set[str]) -> None:
    """What an earlier run left: its files, or others under their names; a batch that was ended."""
    if writer in OLDER:
        for name in set(files_of(folder)) - given:
            (folder / name).unlink()
        assert main([*OLDER[writer].split(), "--quiet"]) == 0
    elif writer == "batch, goes on":
        (folder / "run/parts/part-00000001.parquet").unlink()
    elif writer != "batch":
        for name in set(files_of(folder)) - given:
            (folder / name).write_bytes(b"older")
    else:
        for name in set(files_of(folder)) - given:
            (folder / name).unlink()


def in_one_piece() -> bool:
    """Whether the compiled model's weights lie where it says."""
    return bool(onnx.load("out.onnx").graph.initializer)


@pytest.mark.skipif(os.name != "posix", reason="no process can be copied there")
@pytest.mark.usefixtures("without_ray")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("writer", WRITERS)
def test_each_step_of_each_write_may_fail(
    writer: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, no permission, kill -9 at each step and in the middle of each file: files are
    the older or the new ones, what is left besides goes with the next run.
    """
    if "two files" in writer:
        monkeypatch.setattr(compiled, "LARGEST_FILE", 100)
    given, program = set(files_of(folder)), program_of(writer)
    assert program() == 0, capsys.readouterr()
    new = files_of(folder)
    make_older(writer, folder, given)
    older = files_of(folder)
    assert older != new
    readable = in_one_piece if "two files" in writer else lambda: True
    *wrong, counted = faults_of(program, folder, older, new, readable)
    assert not wrong, "\n".join(wrong)
    print(writer, counted)
    assert int(counted.split()[0]) >= 3


@pytest.mark.skipif(os.name != "posix", reason="no process can be copied there")
@pytest.mark.usefixtures("without_ray")
def test_a_batch_that_was_killed_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan, the model, the manifest, each part, the manifest again: then a second run ends with
    the rows of one that nothing befell.
    """
    program = program_of("batch")
    assert program() == 0
    whole = parquet.read_table("run/parts")
    for at in range(6):
        shutil.rmtree("run")
        child = os.fork()
        if not child:
            monkeypatch.setattr(atomic_files.os, "replace", ending(at))
            os._exit(program())
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert program() == 0
        assert parquet.read_table("run/parts").equals(whole)


def ending(at: int) -> Callable[[Path, Path], None]:
    """What renames until it is called for the `at`-th time from 0."""
    renamed, replace = count(), os.replace

    def once(source: Path, target: Path) -> None:
        if next(renamed) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    return once
