"""inspect: nodes, tensors, the path drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest
from commands import Capture, picture_net, run_command, size_and_text, write


def test_inspect_lists_every_node(folder: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "inspect", "soft.onnx", "--rule", "relu=guided")
    assert outcome.status == 0
    rows = {line.split()[0]: line.split()[1:4] for line in outcome.out.splitlines() if line.strip()}
    assert rows["conv"] == ["Conv", "linear", "flat"]
    assert rows["relu"] == ["Relu", "activation", "guided"]
    assert rows["softmax"][:3] == ["Softmax", "-", "-"]
    assert "relu=guided as given" in outcome.out
    told = json.loads(run_command(capsys, "inspect", "soft.onnx", "--json").out)
    assert [node["name"] for node in told["nodes"]] == ["conv", "relu", "flat", "fc", "softmax"]
    assert [node["outputs"] for node in told["nodes"]] == [["z"], ["h"], ["f"], ["l"], ["logits"]]
    assert told["inputs"] == ["image float32 [axis0_1, 3, 8, 8]"]
    assert told["unsupported"] == []


def test_inspect_lists_tensors(folder: Path, capsys: Capture) -> None:
    listed = run_command(capsys, "inspect", "model.onnx", "--tensors").out
    assert re.search(r"relu +Relu +h\n", listed)
    for name in ("z", "h", "f"):
        run = run_command(capsys, "compile", "model.onnx", "-o", "c.onnx", "--relevance-at", name)
        assert run.status == 0


def test_inspect_shows_the_table_of_an_unsupported_model(folder: Path, capsys: Capture) -> None:
    model = picture_net()
    model.opset_import.append(onnx.helper.make_opsetid("my.domain", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Swirl", "my.domain"
    write(folder / "odd.onnx", model)
    outcome = run_command(capsys, "inspect", "odd.onnx")
    assert outcome.status == 2
    assert re.search(r"relu +Swirl +unsupported", outcome.out)
    assert re.search(r"conv +Conv +linear", outcome.out)
    assert "'relu' (my.domain.Swirl)" in outcome.err
    told = run_command(capsys, "inspect", "odd.onnx", "--json")
    assert (told.status, json.loads(told.out)["unsupported"]) == (2, ["relu"])


@pytest.mark.parametrize("name", ["path.svg", "path.png"])
def test_inspect_draws_the_path(name: str, folder: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "inspect", "model.onnx", "--graph", name)
    assert outcome.status == 0
    if name.endswith(".svg"):
        assert b"<svg" in (folder / name).read_bytes()
    else:
        assert min(size_and_text(name)[0]) > 200


def test_a_name_of_a_million_letters_is_shortened(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = picture_net()
    long = "n" * 10**6
    model.graph.input[0].name = model.graph.node[0].input[0] = model.graph.node[1].name = long
    write(tmp_path / "long.onnx", model)
    for command in ("inspect long.onnx", "compile long.onnx -o out.onnx", "verify long.onnx"):
        outcome = run_command(capsys, *command.split())
        assert outcome.status == 0, outcome.err[-600:]
        assert len(outcome.out) + len(outcome.err) < 100_000
    named = json.loads(run_command(capsys, "inspect", "long.onnx", "--json").out)
    assert named["nodes"][1]["name"] == long


def test_inspect_of_an_input_without_a_type(folder: Path, capsys: Capture) -> None:
    model = picture_net()
    model.graph.input[0].type.tensor_type.elem_type = 0
    write(folder / "untyped.onnx", model)
    outcome = run_command(capsys, "inspect", "untyped.onnx")
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
