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
from commands import Capture, picture_net, run_command, text_net, write
from models import assert_close
from PIL import Image
from rich.console import Console

import lrp_onnx
from lrp_onnx.answer.samples import Sample, note_on
from lrp_onnx.cli import main as cli
from lrp_onnx.cli.verification import verdict_table
from lrp_onnx.compiler import stages
from lrp_onnx.data import digits
from lrp_onnx.options import CompileOptions, PictureOptions
from lrp_onnx.run.sensitivity import Sensitivity
from lrp_onnx.validate.verdict import Line, Part, Verdict


def _picture(path: str) -> tuple[tuple[int, int], dict[str, str]]:
    """Size and metadata."""
    with Image.open(path) as image:
        return image.size, dict(image.info)


def _relevance(path: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays["image_relevance"]


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


@pytest.mark.parametrize("name", ["heat.png", "heat.html", "heat.npz"])
def test_explain_writes_every_format(name: str, folder: Path, capsys: Capture) -> None:
    (folder / "names.txt").write_text("cat\ndog\nbird\nfish\n")
    outcome = run_command(
        capsys, "explain", "soft.onnx", "photo.png", "-o", name, "--preprocess", "imagenet",
        "--labels", "names.txt",
    )  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    assert re.search(r"predicted: (cat|dog|bird|fish) \(\d\), \d+\.\d+%", outcome.out)
    assert "imagenet (scale" in outcome.out
    written = (folder / name).read_bytes()
    if name.endswith(".png"):
        kept = _picture(name)[1]
        assert kept["composite"] == "graded-box"
        assert kept["preprocess"].startswith("imagenet (")
        assert kept["model"] == "soft.onnx"
    elif name.endswith(".html"):
        assert re.search(rb"<h2>(cat|dog|bird|fish) \(\d\), \d+", written)
        assert b"imagenet (scale" in written
    else:
        with np.load(name) as arrays:
            assert sorted(arrays.files) == ["image_relevance", "logits", "metadata"]
            assert arrays["image_relevance"].shape == (1, 3, 8, 8)


def test_explain_an_array_and_another_class(folder: Path, capsys: Capture) -> None:
    arguments = ["-o", "r.npz", "--target", "0-1", "--relevance-at", "h"]
    outcome = run_command(capsys, "explain", "model.onnx", "image=x.npy", *arguments)
    assert outcome.status == 0
    assert "sample 1" in outcome.out
    assert "explained: class 0" in outcome.out
    assert "against class 1" in outcome.out
    compiled = lrp_onnx.compile("model.onnx", target="0-1", relevance_at=["h"])
    expected = lrp_onnx.Explainer(compiled)(np.load("x.npy"))
    with np.load("r.npz") as arrays:
        assert_close(arrays["image_relevance"], expected.relevance["image"])
        assert_close(arrays["h_relevance"], expected.relevance["h"])


@pytest.mark.parametrize("where", ["x.npy", "in"])
@pytest.mark.parametrize(
    ("names", "said"), [("cat", "1 name for 4"), ("a b c d e", "5 names for 4")]
)
def test_explain_wants_a_name_for_each_class(
    names: str, said: str, where: str, folder: Path, capsys: Capture
) -> None:
    (folder / "names.txt").write_text("\n".join(names.split()))
    (folder / "in").mkdir()
    np.save("in/x.npy", np.load("x.npy"))
    arguments = ["model.onnx", where, "-o", "r/", "--labels", "names.txt"]
    outcome = run_command(capsys, "explain", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"labels: {said} classes of output 'logits'" in outcome.err
    assert not (folder / "r").exists()


NOTES = {
    "most arrived": (Sample("", "", 2.0, 1.9), ""),
    "a little arrived": (Sample("", "", 2.0, 0.1), "absorbed 95 %"),
    "the sign changed": (Sample("", "", 2.0, -1.0), "sums to -1 where 2 is explained: its sign"),
    "a little of another sign": (Sample("", "", 2.0, -0.1), "absorbed 105 %"),
    "all negative": (Sample("", "", -2.0, -1.9), ""),
    "nothing to explain": (Sample("", "", 0.0, 0.1), ""),
    "a gradient": (Sample("", "", 2.0, -1.0, conserving=False), ""),
}


@pytest.mark.parametrize("name", NOTES)
def test_relevance_that_hardly_arrives_has_a_note(name: str) -> None:
    sample, said = NOTES[name]
    assert said in note_on([sample])
    assert bool(said) == bool(note_on([sample]))


@pytest.mark.parametrize("composite", ["epsilon", "gradient"])
def test_the_note_is_shown_and_in_the_page(composite: str, folder: Path, capsys: Capture) -> None:
    model = picture_net()
    bias = next(w for w in model.graph.initializer if w.name == "c")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 1e4, np.float32), "c"))
    write(folder / "biased.onnx", model)
    arguments = ["biased.onnx", "x.npy", "-o", "h.html", "--composite", composite]
    shown = run_command(capsys, "explain", *arguments).out
    page = (folder / "h.html").read_text(encoding="utf-8")
    for text in (shown, page):
        assert ("absorbed 100 % of the relevance" in text) == (composite == "epsilon")


def test_preprocess_implies_the_bounds_of_zbox(folder: Path, capsys: Capture) -> None:
    arguments = ["explain", "soft.onnx", "photo.png", "--preprocess", "imagenet", "-o", "r.npz"]
    outcome = run_command(capsys, *arguments, "--composite", "epsilon-gamma-box")
    assert outcome.status == 0
    implied = _relevance("r.npz")
    low, high = [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]
    sets = [f"low={','.join(map(str, low))}", f"high={','.join(map(str, high))}"]
    given = [f"--set={text}" for text in sets]
    assert run_command(capsys, *arguments, "--composite", "epsilon-gamma-box", *given).status == 0
    assert_close(_relevance("r.npz"), implied)
    halved = [f"--set=low={-2}", "--set=high=2"]
    assert run_command(capsys, *arguments, "--composite", "epsilon-gamma-box", *halved).status == 0
    assert np.abs(_relevance("r.npz") - implied).max() > 1e-3 * implied.max()


def normalizing_net() -> onnx.ModelProto:
    """Pixels 0 to 255 in: the model's first nodes normalize."""
    model = picture_net(channels=3)
    model.graph.node[0].input[0] = "normalized"
    for k, (op, name, value) in enumerate(
        [("Div", "deviation", [58.4, 57.1, 57.4]), ("Sub", "mean", [123.7, 116.3, 103.5])]
    ):
        array = np.float32(value).reshape(1, 3, 1, 1)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        ends = (["centered", name], ["normalized"]) if k == 0 else (["image", name], ["centered"])
        model.graph.node.insert(0, onnx.helper.make_node(op, *ends, name))
    return model


def test_a_model_that_normalizes_needs_no_preprocess(folder: Path, capsys: Capture) -> None:
    write(folder / "normalizing.onnx", normalizing_net())
    arguments = ["explain", "normalizing.onnx", "photo.png", "-o", "r.npz"]
    outcome = run_command(capsys, *arguments, "--composite", "epsilon-gamma-box")
    assert (outcome.status, outcome.err) == (0, "")
    assert "byte, implied by the model's node" in outcome.out
    parameters = re.search(r"parameters +zbox.low=\[(\S+), .* zbox.high=\[(\S+), ", outcome.out)
    assert parameters is not None
    # the range at the first layer, behind the model's own normalization
    assert float(parameters[1]) == pytest.approx(-123.7 / 58.4)
    assert float(parameters[2]) == pytest.approx((255 - 123.7) / 58.4)


def test_explain_a_text(folder: Path, capsys: Capture) -> None:
    write(folder / "text.onnx", text_net())
    np.save("ids.npy", np.arange(6)[None])
    outcome = run_command(
        capsys, "explain", "text.onnx", "ids.npy", "-o", "t.png", "--composite", "epsilon"
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert _picture("t.png")[0][0] > 100


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
    names = {"digits.onnx", "digits.lrp.onnx", "digits.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    for name in names:
        assert name in outcome.out
    rows = re.findall(r"^ +(\d) +(\d) +([\d.]+) +([\d.]+)$", outcome.out, re.M)
    assert len(rows) == 12
    assert [int(row[0]) for row in rows] == digits.load()[2].tolist()
    assert all(float(total) == pytest.approx(float(logit), rel=0.3) for _, _, logit, total in rows)
    assert _picture("digits.png")[0][0] > 1000


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
