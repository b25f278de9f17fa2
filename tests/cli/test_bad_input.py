"""Whatever is wrong with what the user gives: one paragraph, status 2, and no file is harmed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bad_files import (
    OLDER,
    assert_refused,
    folder_with_older_results,
    is_one_paragraph,
    make_files,
    state,
)
from commands import picture_net, run_command, write


@dataclass(frozen=True)
class Case:
    """A command line with files by name, and words that its one paragraph must hold."""

    arguments: str
    words: list[str] = field(default_factory=list)
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.arguments.replace(" ", "_")


def _compile(rest: str, *words: str, model: str = "model.onnx", name: str = "") -> Case:
    return Case(f"compile {model} -o older.onnx {rest}".strip(), list(words), name)


def _model(model: str, *words: str) -> Case:
    return _compile("", *words, model=model, name=model)


CASES = [
    _model("missing.onnx", "missing.onnx", "No such file", "Check the path"),
    _model("empty.onnx", "empty.onnx", "is empty"),
    _model("truncated.onnx", "truncated.onnx", "truncated"),
    _model("random.onnx", "random.onnx", "not an ONNX model"),
    _model("readme.onnx", "readme.onnx", "not an ONNX model"),
    _model("folder.onnx", "folder.onnx", "is a folder"),
    _model("large.onnx", "weights.data", "missing", "beside the model"),
    _model("outside.onnx", "../secret.data", "outside the model's folder"),
    _model("absolute.onnx", "/etc/passwd", "outside the model's folder"),
    _model("cycle.onnx", "cycle.onnx", "not a valid ONNX model"),
    _model("dangling.onnx", "dangling.onnx", "nowhere"),
    _model("names.onnx", "names.onnx", "damaged"),
    _model("operator.onnx", "operator.onnx", "Frobnicate"),
    _model("domain.onnx", "Swirl", "Twist", "2 nodes"),
    _compile("--composite epsilon-minus", "epsilon-minus", "Known:"),
    _compile("--composite base", "only there to be extended", "epsilon-plus-flat, "),
    _compile("--composite nowhere.toml", "nowhere.toml", "No such file"),
    _compile("--composite composite.toml", "composite.toml", "'layers'"),
    _compile("--composite broken.toml", "broken.toml", "TOML"),
    _compile("--composite nested.toml", "nested.toml", "too deep"),
    _compile("--composite digits.toml", "digits.toml", "not valid TOML"),
    _compile("--composite hex.toml", "hex.toml", "hundreds of digits"),
    _compile("--composite long.toml", "long.toml", "there is no rule 'rrr"),
    _compile("--rule Conv=number.toml", "number.toml", "too large"),
    _compile("--composite itself.toml", "itself.toml"),
    _compile("--rule Conv=parentheses.toml", "parentheses.toml", "2001 characters long"),
    _compile("--rule Conv=zminus", "zminus", "Known:"),
    _compile("--rule Conv=rule.toml", "rule.toml", "'reference'"),
    _compile("--rule Conv", "PATTERN=RULE"),
    _compile("--rule nowhere*=epsilon", "nowhere*"),
    _compile("--composite epsilon --set gamma=1", "gamma", "It has"),
    _compile("--set epsilon.gamma=1", "epsilon.gamma", "It has"),
    _compile("--set epsilon=-1", "-1", "out of range"),
    _compile("--set epsilon=much", "--set 'epsilon=much'", "neither a number"),
    _compile("--set epsilon", "NAME=VALUE"),
    _compile("--set epsilon=1,x", "list of numbers"),
    _compile("--composite epsilon-gamma-box", "--set low=", "--set high="),
    _compile("--output probabilities", "probabilities", "logits"),
    _compile("--explain picture", "picture", "image"),
    _compile("--target 4", "4", "0 to 3"),
    _compile("--target 1-9", "1-9", "0 to 3"),
    _compile("--target best", "best", "argmax"),
    _compile("--target top-9", "top-9"),
    _compile("--class-axis 2", "class axis 2", "logits"),
    _compile("--start zero", "zero", "auto, logit, contrast, one"),
    _compile("--relevance-at nowhere", "nowhere"),
    _compile("--relevance-at conv", "'conv': that is a node; its output is tensor 'z'. Give that."),
    _compile("--opset 12", "12", "13 to 21"),
    _compile("--opset many", "--opset"),
    _compile("--print-after never", "never", "canonize"),
    _compile("--method shap", "'shap'", "integrated-gradients"),
    _compile("--method gradient --composite epsilon", "'epsilon'", "plain gradient"),
    _compile("--method gradient --rule conv=gamma", "rules", "plain gradient"),
    _compile("--method gradient --set gamma=1", "parameters", "plain gradient"),
    _compile("--method saliency --start logit", "'logit'", "start at one"),
    _compile("--steps 8", "steps", "integrated-gradients"),
    _compile("--method gradient --baseline mean", "baseline", "integrated-gradients"),
    _compile("--method integrated-gradients --steps 0", "steps 0"),
    _compile("--method integrated-gradients --condition z", "condition 'z'"),
    _compile("--condition nowhere", "'nowhere'", "inspect MODEL --tensors"),
    _compile("--condition relu", "'relu': that is a node; its output is tensor 'h'. Give that."),
    _compile("--condition h=1", "'h=1'", "has none, but 'h'", "`lrp-onnx explain` alone"),
    Case(
        "explain model.onnx image.npy -o older.png --condition h=a,b", ["whole numbers", "'h=11,3'"]
    ),
    _compile("--runtime gpu", "runtime 'gpu'"),
    _model("pipe.onnx", "pipe.onnx", "a device or a pipe"),
    _compile("--composite pipe.toml", "pipe.toml", "a device or a pipe"),
    _compile("--labels pipe.txt --target cat", "pipe.txt", "a device or a pipe"),
    *(
        Case(f"explain model.onnx {name} -o older.png --preprocess unit", [name, "a device or a"])
        for name in ("pipe.npy", "pipe.png", "endless.npz")
    ),
    *(
        Case(f"explain table.onnx {name} -o older.png", [name[:8], "a device or a pipe"])
        for name in ("pipe.csv", "pipe.wav --rate 9")
    ),
    Case("ops Foo", ["Foo", "lrp-onnx ops"]),
    Case("compile model.onnx", ["-o"]),
    Case("compile", ["MODEL.onnx"]),
    Case("compil model.onnx", ["Did you mean 'compile'"]),
    Case("compile model.onnx -o nowhere/out.onnx", ["nowhere", "does not exist"]),
    Case("compile model.onnx -o folder.onnx", ["folder.onnx", "is a folder"]),
    Case("compile model.onnx -o model.onnx", ["the model itself"]),
    Case("explain model.onnx broken.png -o older.png --preprocess unit", ["broken.png"]),
    Case("explain model.onnx notes.txt -o older.png --preprocess unit", ["notes.txt"]),
    Case(
        "explain model.onnx absent.png -o older.png --preprocess unit",
        ["absent.png", "Check the path"],
    ),
    Case("explain model.onnx a_text -o older.png", ["no file 'a_text'", "Check the path"]),
    Case("explain model.onnx picture.png -o older.png", ["--preprocess imagenet", "unit"]),
    Case("explain model.onnx picture.png -o older.png --preprocess vgg", ["vgg", "imagenet"]),
    Case("explain text.onnx picture.png -o older.png --preprocess unit", ["ids", "not a picture"]),
    Case("explain model.onnx wrong.npy -o older.png", ["wrong.npy", "[1, 1, 9, 8]"]),
    Case("explain model.onnx double.npy -o older.png", ["double.npy"]),
    Case("explain model.onnx x=image.npy -o older.png", ["'x'", "'image'"]),
    Case("verify model.onnx image.npy image.npy", ["one file too many"]),
    Case(
        "explain model.onnx image.npy image.npy -o older.png", ["many are written", "Name a folder"]
    ),
    Case("explain model.onnx image=image.npy image=image.npy -o older.png", ["twice"]),
    Case("explain model.onnx image.npy -o older.gif", ["older.gif", ".html, .npz"]),
    Case("explain model.onnx image.npy -o older.png --labels absent.txt", ["absent.txt"]),
    Case("explain model.onnx image.npy -o older.png --target input", ["--target input=3"]),
    Case("explain model.onnx -o older.png", ["no input is given", "model.onnx photo.jpg, or"]),
    Case("inspect domain.onnx", ["Swirl", "Twist"]),
    Case("inspect model.onnx --graph older.jpg", ["older.jpg", ".svg"]),
    Case("verify model.onnx absent.npy", ["absent.npy", "Check the path"]),
    Case("verify empty.onnx", ["is empty"]),
    Case("bench model.onnx --runs 0", ["--runs"]),
    Case("bench model.onnx --batch 1,0", ["--batch 1,0", "1,8,64"]),
    Case("bench empty.onnx", ["is empty"]),
    Case("rules nothing", ["nothing", "Known:"]),
    Case("rules absent.toml", ["absent.toml"]),
    Case("demo -o nowhere", ["nowhere"]),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return folder_with_older_results(tmp_path, monkeypatch)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refused_in_one_paragraph(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_files(case.arguments, folder)
    before = state(folder)
    outcome = run_command(capsys, *case.arguments.split())
    assert_refused(outcome, case.words)
    assert state(folder) == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_write_protected_file_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_files("model.onnx locked.onnx", folder)
    outcome = run_command(capsys, "compile", "model.onnx", "-o", "locked.onnx")
    assert_refused(outcome, ["locked.onnx", "write-protected"])
    assert (folder / "locked.onnx").read_bytes() == OLDER


def test_debug_shows_the_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "compile", "absent.onnx", "-o", "older.onnx", "--debug")
    assert outcome.status == 2
    assert "Traceback" in outcome.err
    assert is_one_paragraph(outcome.err.splitlines()[-1])


def test_nan_in_a_weight_compiles_with_a_warning_and_fails_verify(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "nan.onnx", picture_net(scale=float("nan")))
    compiled = run_command(capsys, "compile", "nan.onnx", "-o", "nan.lrp.onnx")
    assert compiled.status == 0
    assert "warning: " in compiled.err
    assert "'w'" in compiled.err
    assert "NaN" in compiled.err
    assert (folder / "nan.lrp.onnx").is_file()
    verified = run_command(capsys, "verify", "nan.onnx")
    assert verified.status == 1
    assert "not finite" in verified.err
