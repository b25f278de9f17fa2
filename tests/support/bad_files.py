"""Files that something is wrong with, and what is said of them: one paragraph."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Outcome, picture_net, text_net, write
from onnx import TensorProto, helper
from PIL import Image

LONGEST = 600 + len("lrp-onnx: \n")
OLDER = b"an older result"


def with_external(path: Path, location: str, length: int) -> None:
    """A model whose weight lies in another file, `length` bytes of it."""
    model = picture_net()
    weight = next(t for t in model.graph.initializer if t.name == "v")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.dims[:] = [length // 16, 4]
    entries = {"location": location, "offset": "0", "length": str(length)}
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def with_nodes(path: Path, *nodes: onnx.NodeProto) -> None:
    """A graph x -> y of these nodes, valid or not."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.domain", 1)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    )


def node(op: str, inputs: str, outputs: str, domain: str = "") -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), f"{op}_{outputs}", domain=domain)


def _unwritable(path: Path) -> None:
    path.write_bytes(OLDER)
    path.chmod(0o444)


Make = Callable[[Path], object]

FILES: dict[str, Make] = {
    "model.onnx": lambda path: write(path, picture_net()),
    "text.onnx": lambda path: write(path, text_net()),
    "table.onnx": lambda path: with_nodes(path, node("Relu", "x", "y")),
    "three.onnx": lambda path: write(path, picture_net(channels=3)),
    "empty.onnx": lambda path: path.write_bytes(b""),
    "truncated.onnx": lambda path: path.write_bytes(picture_net().SerializeToString()[:-200]),
    "random.onnx": lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)),
    "readme.onnx": lambda path: path.write_text("# A model\n\nDownload it from the site.\n"),
    "folder.onnx": lambda path: path.mkdir(),
    "large.onnx": lambda path: with_external(path, "weights.data", 3_000_000_000),
    "outside.onnx": lambda path: with_external(path, "../secret.data", 3072),
    "absolute.onnx": lambda path: with_external(path, "/etc/passwd", 3072),
    "cycle.onnx": lambda path: with_nodes(path, node("Add", "x y", "a"), node("Relu", "a", "y")),
    "dangling.onnx": lambda path: with_nodes(path, node("Add", "x nowhere", "y")),
    "operator.onnx": lambda path: with_nodes(path, node("Frobnicate", "x", "y")),
    "domain.onnx": lambda path: with_nodes(
        path, node("Relu", "x", "a"), node("Swirl", "a", "b", "my.domain"),
        node("Twist", "b", "y", "my.domain"),
    ),
    "names.onnx": lambda path: path.write_bytes(
        picture_net().SerializeToString().replace(b"relu", b"\xff\xfe\xfd\xfc")
    ),
    "broken.png": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50)),
    "picture.png": lambda path: Image.new("RGB", (9, 9), "red").save(path),
    "notes.txt": lambda path: path.write_text("no picture"),
    "wrong.npy": lambda path: np.save(path, np.zeros((1, 1, 9, 8), np.float32)),
    "double.npy": lambda path: np.save(path, np.full((1, 1, 8, 8), 1e300)),
    "image.npy": lambda path: np.save(path, np.zeros((1, 1, 8, 8), np.float32)),
    "rule.toml": lambda path: path.write_text('summary = "s"\n[[share]]\nterms = [{ x = "x" }]\n'),
    "composite.toml": lambda path: path.write_text('summary = "s"\nreference = "r"\nlayers = []\n'),
    "broken.toml": lambda path: path.write_text("summary = \n"),
    "nested.toml": lambda path: path.write_text(f"a = {'[' * 5000}{']' * 5000}"),
    "digits.toml": lambda path: path.write_text(f"a = {'9' * 9000}"),
    "parentheses.toml": lambda path: path.write_text(
        f'summary = "s"\nreference = "r"\nrelevance = "{"(" * 1000}R{")" * 1000}"\n'
    ),
    "hex.toml": lambda path: path.write_text(f"a = 0x{'f' * 9000}"),
    "long.toml": lambda path: path.write_text(
        'summary = "s"\nreference = "r"\n[[layer]]\nkind = "linear"\nrule = "' + "r" * 999 + '"\n'
    ),
    "number.toml": lambda path: path.write_text(
        f'summary = "s"\nreference = "r"\nrelevance = "R * {"9" * 400}"\n'
    ),
    "itself.toml": lambda path: path.write_text(
        'summary = "s"\nreference = "r"\nbase = "itself.toml"\n'
    ),
    "locked.onnx": _unwritable,
    **{f"pipe.{kind}": os.mkfifo for kind in ("onnx", "npy", "png", "toml", "csv", "wav", "txt")},
    "endless.npz": lambda path: path.symlink_to("/dev/zero"),
}  # fmt: skip


def folder_with_older_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder with older results in it; files outside it lie beside it."""
    place = tmp_path / "here"
    place.mkdir()
    (tmp_path / "secret.data").write_bytes(bytes(3072))
    for name in ("older.onnx", "older.png", "older.jpg"):
        (place / name).write_bytes(OLDER)
    monkeypatch.chdir(place)
    return place


def make_files(arguments: str, folder: Path) -> None:
    for name, make in FILES.items():
        if any(name == word.rpartition("=")[2] for word in arguments.split()):
            make(folder / name)


def state(folder: Path) -> dict[str, bytes | None]:
    """Every file with its content."""
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


def is_one_paragraph(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) == 1 and lines[0].startswith("lrp-onnx: ") and lines[0].endswith(".")


def assert_refused(outcome: Outcome, words: list[str]) -> None:
    assert outcome.status == 2, outcome
    assert is_one_paragraph(outcome.err), outcome.err
    assert len(outcome.err) <= LONGEST, len(outcome.err)
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err
