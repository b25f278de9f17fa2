"""Every command of the command line, from its arguments to what it prints and writes."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from commands import Capture, run_command, size_and_text
from models import assert_close
from rich.console import Console

import lrp_onnx
from lrp_onnx.cli import main as cli
from lrp_onnx.cli.verification import verdict_table
from lrp_onnx.compiler import stages
from lrp_onnx.data import digits
from lrp_onnx.options import CompileOptions, PictureOptions
from lrp_onnx.run.sensitivity import Sensitivity
from lrp_onnx.validate.verdict import Line, Part, Verdict


def test_compile_writes_what_the_library_compiles(folder: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "compile", "model.onnx", "-o", "out.onnx", "--target", "2")
    assert (outcome.status, outcome.err) == (0, "")
    assert "image_relevance float32 [axis0_1, 1, 8, 8]" in outcome.out
    x = np.load("x.npy")
    expected = lrp_onnx.Explainer(lrp_onnx.compile("model.onnx", target=2))(x)
    assert_close(lrp_onnx.Explainer("out.onnx")(x).relevance["image"], expected.relevance["image"])


OPTIONS = {
    "--composite gradient": {"composite": "gradient"},
    "--rule Conv=epsilon": {"rules": {"Conv": "epsilon"}},
    "--rule fc*=zplus --rule conv=wsquare": {"rules": {"fc*": "zplus", "conv": "wsquare"}},
    "--set epsilon=0.25": {"parameters": {"epsilon": 0.25}},
    "--set epsilon.epsilon=0.5*rms(z)": {"parameters": {"epsilon.epsilon": "0.5*rms(z)"}},
    "--composite zbox --set zbox.low=-3 --set high=3": {
        "composite": "zbox",
        "parameters": {"zbox.low": -3, "high": 3},
    },
    "--output logits --explain image": {"output": "logits", "explain": ["image"]},
    "--target 1-3": {"target": "1-3"},
    "--target all --class-axis 0": {"target": "all", "class_axis": 0},
    "--start one": {"start": "one"},
    "--relevance-at h --relevance-at f": {"relevance_at": ("h", "f")},
    "--method saliency": {"method": "saliency"},
    "--condition h --condition z": {"conditions": ["h", "z"]},
    "--method integrated-gradients --steps 4 --baseline mean": {
        "method": "integrated-gradients",
        "steps": 4,
        "baseline": "mean",
    },
    "--opset 20": {"opset": 20},
    "--no-check": {"check": False},
}


@pytest.mark.parametrize("text", OPTIONS)
def test_options_mean_what_the_arguments_of_compile_mean(
    text: str, folder: Path, capsys: Capture
) -> None:
    outcome = run_command(capsys, "compile", "model.onnx", "-o", "out.onnx", *text.split())
    assert (outcome.status, outcome.err) == (0, "")
    expected = lrp_onnx.compile("model.onnx", **OPTIONS[text]).model
    assert onnx.load("out.onnx") == expected


WATCHED = {"--print-after", "--time-stages", "--debug"}
"""How a compilation is watched changes nothing in what it makes, so compile() has none of these."""


@pytest.mark.parametrize("command", ["compile", "explain", "inspect", "verify", "bench"])
def test_an_option_is_a_field_and_a_field_an_option(command: str) -> None:
    shared = commands_of(cli.app)[command].params
    own = inspect.signature(lrp_onnx.compile).parameters
    fields = {field.name: field for field in dataclasses.fields(CompileOptions)}
    assert list(own) == ["source", *fields]
    by_name = {parameter.name: parameter for parameter in shared}
    assert fields.keys() <= by_name.keys()
    for name, field in fields.items():
        left_open = None if field.metadata["repeatable"] else field.default
        assert by_name[name].default == left_open
    first = list(by_name).index("composite")
    others = [p for p in shared[first:] if p.name not in fields and p.name != "help"]
    drawing = {f"--{field.name}" for field in dataclasses.fields(PictureOptions)}
    flags = {flag for parameter in others for flag in parameter.opts}
    answers = {"--json", "--quiet", "-q", *drawing} if command == "explain" else set()
    assert flags == WATCHED | answers


def commands_of(app: typer.Typer) -> dict[str, Any]:
    commands: dict[str, Any] = typer.main.get_command(app).commands
    return commands


@pytest.mark.parametrize(
    "command", ["explain soft.onnx photo.png -o r.npz", "verify soft.onnx photo.png"]
)
def test_a_model_is_read_and_prepared_once(
    command: str, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()

    def counted(name: str) -> Any:
        stage = getattr(stages, name)

        def wrapper(*args: Any) -> Any:
            counts[name] += 1
            return stage(*args)

        return wrapper

    names = ("load", "normalize", "canonize", "assign_outputs")
    for name in names:
        monkeypatch.setattr(stages, name, counted(name))
    wanted = [
        "--preprocess=imagenet",
        "--composite=epsilon-gamma-box",
        "--target=0",
        "--start=logit",
    ]
    assert run_command(capsys, *command.split(), *wanted).status == 0
    assert counts == dict.fromkeys(names, 1)


def test_stages_are_printed_and_timed(folder: Path, capsys: Capture) -> None:
    wanted = [f"--print-after={stage}" for stage in ("canonize", "assign", "analyze", "rewrite")]
    outcome = run_command(capsys, "compile", "model.onnx", "-o", "o.onnx", "--time-stages", *wanted)
    assert re.findall(r"^(\w+) +\d+\.\d+ s$", outcome.err, re.M) == [
        "load", "normalize", "canonize", "assign", "analyze", "propagate", "rewrite", "lower",
        "check",
    ]  # fmt: skip
    for line in (
        "node   conv: z FLOAT[axis0_1,3,8,8] = Conv(image, w, b) <pads=(1, 1, 1, 1)>",
        "conv (Conv): flat, first Conv, ConvTranspose in graded",
        "h: never negative",
        "output image_relevance",
    ):
        assert line in outcome.out


def test_verify_on_random_and_on_given_input(folder: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "verify", "model.onnx")
    assert (outcome.status, outcome.err) == (0, "")
    assert [line.split()[0] for line in outcome.out.splitlines()[3:7]] == [
        "fc",
        "flat",
        "relu",
        "conv",
    ]
    assert "holds: the forward is unchanged, every account adds up" in outcome.out
    assert "random numbers; the sums run over all samples" in outcome.out
    told = run_command(capsys, "verify", "model.onnx", "x.npy", "--json")
    assert told.status == 0
    assert json.loads(told.out)["problems"] == []
    assert "image [2, 1, 8, 8]" in run_command(capsys, "verify", "model.onnx", "x.npy").out


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_of_verify_fits_a_terminal(width: int) -> None:
    names = [f"/layer1/layer1.{k}/conv{k}/Conv" for k in range(3)]
    sums = (-1.234e-5, 2e-5, -1.234e-5, -1.234e-5, -1.234e-6, -1e-10)
    lines = tuple(Line(name, "MaxPool", "winner-takes-all", *sums, True) for name in names)
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        parts = (Part("y", 1.0, {}, lines),)
        steady = Sensitivity(1e-7, "input")
        console.print(verdict_table(Verdict({}, parts, (), (), {}, steady), width))
    rows = [line.split() for line in captured.get().splitlines() if "Conv" in line]
    assert [row[1] for row in rows] == ["winner-takes-all"] * 3
    assert all(name.endswith(row[0].strip("…")) for name, row in zip(names, rows, strict=True))
    assert all(len(line) <= width for line in captured.get().splitlines())


def test_bench_shows_both(folder: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "bench", "model.onnx", "--runs", "3")
    assert (outcome.status, outcome.err) == (0, "")
    headings = ("ratio", "samples per s", "load ms", "peak memory")
    for word in ("forward", *headings, "3 runs each", "Provider"):
        assert word in outcome.out


@pytest.mark.usefixtures("memory_unmeasured")
def test_bench_tells_machines_the_same(folder: Path, capsys: Capture) -> None:
    four = ["bench", "model.onnx", "--runs", "3", "--batch", "4", "--threads", "1", "--json"]
    told = json.loads(run_command(capsys, *four).out)
    assert told["runs"] == 3
    assert told["ratio"] == told["explanation"]["median"] / told["forward"]["median"]
    assert told["shapes"] == {"image": [4, 1, 8, 8]}
    assert told["forward_samples_per_second"] == 4 / told["forward"]["median"]
    four[5] = "1,4"
    both = json.loads(run_command(capsys, *four).out)["batches"]
    assert [costs["samples"] for costs in both] == [1, 4]
    table = run_command(capsys, *four[:-1]).out
    assert re.findall(r"^ *(forward\D*?) +(\d+) ", table, re.M) == [
        (name, size) for size in "14" for name in ("forward", "forward and relevance")
    ]


def test_demo_in_an_empty_folder(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_command(capsys, "demo")
    assert (outcome.status, outcome.err) == (0, "")
    names = {"digits.onnx", "digits.npy", "digits.lrp.onnx", "digits.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    for name in names:
        assert name in outcome.out
    rows = re.findall(r"^ +(\d) +(\d) +([\d.]+) +([\d.]+)$", outcome.out, re.M)
    assert len(rows) == 12
    assert [int(row[0]) for row in rows] == digits.load()[2].tolist()
    assert all(float(total) == pytest.approx(float(logit), rel=0.3) for _, _, logit, total in rows)
    assert size_and_text("digits.png")[0][0] > 1000
    few = run_command(
        capsys, "evaluate", "digits.onnx", "digits.npy", "--points", "2", "--redraw", "0"
    )
    assert few.status == 0
    assert "samples      12" in few.out


def test_help_is_quick_and_loads_nothing_slow() -> None:
    program = (
        "import sys; from lrp_onnx.cli.main import main; main(['--help'])\n"
        "print([m for m in ('matplotlib', 'onnxruntime', 'torch') if m in sys.modules])"
    )
    before = os.times().children_user
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    used = os.times().children_user - before
    assert used < 5  # under one second on a quiet machine


def test_nothing_at_all_shows_the_commands(capsys: Capture) -> None:
    outcome = run_command(capsys)
    assert outcome.status == 2
    for command in ("compile", "explain", "inspect", "verify", "bench", "rules", "ops", "demo"):
        assert f"  {command} " in outcome.out


def test_version(capsys: Capture) -> None:
    assert run_command(capsys, "--version").out.startswith("lrp-onnx ")
    assert cli.main(["--version"]) == 0
