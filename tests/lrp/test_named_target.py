"""Classes by name: from a file, a list, a dictionary, or the model's own ZipMap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command, write
from models import network

import lrp_onnx
from lrp_onnx.errors import InputError, TargetError

NAMES = ["tench, Tinca tinca", "tabby, tabby cat", "tiger cat", "Egyptian cat", "crane", "tiger",
         "black-and-tan coonhound", "max", "crane"]  # fmt: skip
MODEL = network("h = Gemm(x, w)\n t = Tanh(h)\n y = Gemm(t, v)", (2, 4), (0,), w=(4, 6), v=(6, 9))
FOUND = {
    "tiger cat": "2",
    "Tiger Cat": "2",
    "tiger_cat": "2",
    "tabby": "1",
    "tabby, tabby cat": "1",
    "Tinca tinca": "0",
    "tiger": "5",
    "black-and-tan coonhound": "6",
    "tiger cat-tabby": "2-1",
    "black-and-tan coonhound-tiger": "6-5",
    "tiger-black-and-tan coonhound": "5-6",
    "tiger-1": "5-1",
    "max": "max",
    "3": "3",
    "3-5": "3-5",
    "top-2": "top-2",
}


def target_of(target: str, labels: object) -> str:
    compiled = lrp_onnx.compile(MODEL, "epsilon", target=target, labels=labels, check=False)
    return compiled.graph.metadata_props["lrp.target"]


@pytest.mark.parametrize("name", FOUND)
def test_a_class_by_its_name(name: str) -> None:
    assert target_of(name, NAMES) == FOUND[name]


def test_labels_are_a_file_a_list_or_a_dictionary(tmp_path: Path) -> None:
    lines, table = tmp_path / "names.txt", tmp_path / "names.json"
    lines.write_text("\n".join(NAMES), encoding="utf-8")
    table.write_text(json.dumps({str(k): name for k, name in enumerate(NAMES)}), encoding="utf-8")
    for labels in (lines, str(table), NAMES, dict(enumerate(NAMES))):
        assert target_of("tiger cat", labels) == "2"
    with pytest.raises(InputError, match="labels 3: no names"):
        target_of("tiger cat", 3)


REFUSED = {
    "crane": ["2 classes have that name", "4 (crane), 8 (crane)", "number"],
    "tigr cat": ["none of the 9 classes", "'tiger cat' (2)", "such as 2"],
    "egypt": ["'Egyptian cat' (3)"],
    "zebra": ["none of the 9 classes", "Names are such as 'tench, Tinca tinca'", "such as 0"],
    "tiger-crane": ["none of the 9 classes"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unknown_or_ambiguous_name_is_refused(name: str) -> None:
    with pytest.raises(TargetError) as caught:
        target_of(name, NAMES)
    assert all(fact in str(caught.value) for fact in REFUSED[name]), str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_labels_a_name_is_unknown() -> None:
    with pytest.raises(TargetError, match="by its name only with --labels"):
        target_of("tiger cat", None)


def test_a_model_may_have_its_own_names() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    zipped = onnx.helper.make_node("ZipMap", ["y"], ["maps"], "zip", domain="ai.onnx.ml",
                                   classlabels_strings=NAMES)  # fmt: skip
    model.graph.node.append(zipped)
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    kind = onnx.helper.make_sequence_type_proto(
        onnx.helper.make_map_type_proto(
            onnx.TensorProto.STRING, onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
        )
    )
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_value_info("maps", kind))
    compiled = lrp_onnx.compile(model, "epsilon", target="Egyptian cat", check=False)
    assert compiled.graph.metadata_props["lrp.target"] == "3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.onnx", MODEL)
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    np.save("x.npy", np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32))
    return tmp_path


@pytest.mark.parametrize("command", ["explain", "compile", "inspect", "verify"])
def test_every_command_takes_a_name(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"explain": ["x.npy", "-o", "why.npz"], "compile": ["-o", "out.onnx"]}.get(command, [])
    named = ["--composite", "epsilon", "--labels", "names.txt", "--target"]
    done = run_command(capsys, command, "model.onnx", *files, *named, "tiger cat")
    assert done.status == 0, done.err
    if command == "explain":
        assert "explained: tiger cat (2)" in done.out
    if command in ("explain", "compile"):
        assert "2 of y" in done.out
    wrong = run_command(capsys, command, "model.onnx", *files, *named, "tiger cats")
    assert wrong.status == 2
    assert "'tiger cat' (2)" in wrong.err
