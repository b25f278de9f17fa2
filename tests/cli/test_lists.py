"""rules and ops: lists, and one in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import Capture, run_command


def test_rules_lists_the_library(capsys: Capture) -> None:
    listed = run_command(capsys, "rules").out
    told = json.loads(run_command(capsys, "rules", "--json").out)
    for kind in ("rules", "composites"):
        for entry in told[kind]:
            assert f" {entry['name']} " in listed
            assert entry["summary"] in listed
    names = [entry["name"] for entry in told["composites"]]
    assert "epsilon-gamma-box" in names
    assert "base" not in names  # `rules base` shows it, but it is only there to be extended


def test_ops_lists_every_operator(capsys: Capture) -> None:
    listed = run_command(capsys, "ops").out
    told = json.loads(run_command(capsys, "ops", "--json").out)
    assert {row["support"] for row in told["operators"]} == {"propagates", "none", "refused"}
    assert all(row["name"] in listed for row in told["operators"])
    standard = [row for row in told["operators"] if "com.microsoft" not in row["name"]]
    refused = sum(row["support"] == "refused" for row in standard)
    assert told["totals"]["standard"]["refused"] == refused > 0
    assert f"{told['totals']['standard']['propagates']} propagate" in listed


@pytest.mark.parametrize("command", ["rules", "ops"])
def test_lists_into_a_pipe_are_a_row_a_line(command: str, capsys: Capture) -> None:
    lines = run_command(capsys, command).out.splitlines()
    assert max(map(len, lines)) <= 200
    if command == "ops":
        rows = {line.split()[0]: line.split()[1:] for line in lines if line}
        assert rows["Conv"] == ["propagates", "linear,", "bilinear"]
        assert rows["StringSplit"][:2] == ["refused", "it"]
        assert rows["Shape"] == ["carries", "none"]


def test_ops_in_a_terminal_are_tables(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrp_onnx.cli.tables.in_pipe", lambda: False)
    monkeypatch.setenv("COLUMNS", "100")
    shown = run_command(capsys, "ops").out
    assert "Propagate relevance" in shown
    assert max(map(len, shown.splitlines())) <= 180  # the last lines are sentences


def test_ops_shows_one(capsys: Capture) -> None:
    shown = run_command(capsys, "ops", "mul").out
    assert "product: half" in shown
    assert "7, 13, 14" in shown
    assert "strings" in run_command(capsys, "ops", "StringSplit").out
    (told,) = json.loads(run_command(capsys, "ops", "Swish", "--json").out)["operators"]
    assert told["versions"] == [24]
    assert "'Foo'" in run_command(capsys, "ops", "Foo").err


def test_rules_shows_one(folder: Path, capsys: Capture) -> None:
    alpha_beta = run_command(capsys, "rules", "alpha-beta").out
    assert "beta=" in alpha_beta
    assert "formula" in alpha_beta
    both = run_command(capsys, "rules", "epsilon").out
    assert "rule        epsilon" in both
    assert "composite  epsilon" in both
    (folder / "mine.toml").write_text(
        'summary = "my rule"\nreference = "me"\n[[share]]\nterms = [{ x = "x", w = "pos(w)" }]\n'
    )
    mine = run_command(capsys, "rules", "mine.toml").out
    assert "my rule" in mine
    assert "formula" not in mine
    assert "activation" in run_command(capsys, "rules", "base").out
    told = json.loads(run_command(capsys, "rules", "epsilon", "--json").out)
    assert sorted(told) == ["composite", "rule"]


def test_composites_alone(capsys: Capture) -> None:
    listed = run_command(capsys, "composites").out
    told = json.loads(run_command(capsys, "composites", "--json").out)["composites"]
    assert told == json.loads(run_command(capsys, "rules", "--json").out)["composites"]
    assert all(one["name"] in listed for one in told)
    assert not [line for line in listed.splitlines() if line.split()[:1] == ["winner-takes-all"]]
    shown = run_command(capsys, "composites", "graded")
    assert shown.out == run_command(capsys, "rules", "graded").out
    wrong = run_command(capsys, "composites", "winner-takes-all")
    assert (wrong.status, wrong.out) == (2, "")
    assert "is a rule and no composite" in wrong.err


def test_json_and_quiet(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = json.loads(run_command(capsys, "demo", "--json").out)
    assert len(told["digits"]) == 12
    assert run_command(capsys, "demo", "--quiet").out == ""
    np.save("x.npy", np.zeros((1, 1, 28, 28), np.float32))
    explained = run_command(capsys, "explain", "digits.onnx", "x.npy", "-o", "a.npz", "--json").out
    assert json.loads(explained)["wrote"] == "a.npz"
    compiled = run_command(capsys, "compile", "digits.onnx", "-o", "b.onnx", "--json").out
    assert json.loads(compiled)["wrote"].startswith("b.onnx (")
    for words in ("explain digits.onnx x.npy -o a.npz", "compile digits.onnx -o b.onnx"):
        outcome = run_command(capsys, *words.split(), "--quiet")
        assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_the_shell_completes() -> None:
    asked = {
        "_LRP_ONNX_COMPLETE": "complete_bash",
        "COMP_WORDS": "lrp-onnx comp",
        "COMP_CWORD": "1",
    }
    environment = {**os.environ, **asked}
    code = "import sys; from lrp_onnx.cli.main import main; sys.exit(main([]))"
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                           text=True, check=False)  # fmt: skip
    assert {"compile", "composites"} <= set(shown.stdout.split())


def test_help_has_no_types_of_python(capsys: Capture) -> None:
    for command in (["explain"], ["evaluate"], ["export", "web"]):
        told = run_command(capsys, *command, "--help").out
        assert "MODEL.onnx" in told
        assert not [
            kind for kind in ("list[", "<str>", "<path>", "<int", "int range") if kind in told
        ]
