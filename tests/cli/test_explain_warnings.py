"""What `explain` tells beside its answer: roundings, steps, biases, rules that see nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command, write
from models import network

import lrp_onnx
from lrp_onnx.answer.samples import Sample, note_on

Capture = pytest.CaptureFixture[str]


CANCELS = network(
    "h = MatMul(x, w) y = MatMul(h, v)", (1, 2),
    w=np.float32([[1, 0.5], [2.0**-20 - 1, 0.5]]), v=np.float32([[1e6], [1]]),
)  # fmt: skip
"""The first sum leaves little more of [1.5, 1.5] than roundings."""


@pytest.mark.parametrize("command", ["explain", "verify"])
def test_where_roundings_decide_the_map_that_is_told(
    command: str, folder: Path, capsys: Capture
) -> None:
    write(folder / "cancels.onnx", CANCELS)
    np.save("near.npy", np.array([[1.5, 1.5 + 2.0**-23]], np.float32))
    out = ["-o", "r.npz"] if command == "explain" else []
    shown = run_command(capsys, command, "cancels.onnx", "near.npy", *out, "--composite", "epsilon")
    assert shown.status == (0 if command == "explain" else 1)
    assert re.search(r"rounding +decides 0\.\d+ of the largest relevance", shown.out)
    assert "of both signs cancel" in shown.out + shown.err
    assert "so that the map means nothing" in shown.err or command == "verify"
    steady = run_command(capsys, command, "model.onnx", "x.npy", *out)
    assert re.search(r"rounding +decides \de-0\d of the largest relevance", steady.out)
    assert "roundings decide" not in steady.err


@pytest.mark.parametrize("steps", [1, 32])
def test_explain_says_what_the_steps_alone_sum_to(
    steps: int, folder: Path, capsys: Capture
) -> None:
    given = ["model.onnx", "x.npy", "--method", "integrated-gradients", "--steps", str(steps)]
    outcome = run_command(capsys, "explain", *given, "-o", "r.npz")
    assert outcome.status == 0
    said = re.search(rf"completeness +the gradients at {steps} steps? alone sum to (\S+) of (\S+), "
                     r"off by ([\d.]+)%", outcome.out)  # fmt: skip
    assert said is not None
    verified = run_command(capsys, "verify", *given).out
    alone = re.search(r"steps alone: (\S+), off by ([\d.]+)%", verified)
    assert alone is not None
    assert float(said[1]) == pytest.approx(float(alone[1]), rel=1e-4)
    assert said[3] == alone[2]
    assert ("Give more --steps" in outcome.out) == (float(said[3]) > 5)
    with np.load("r.npz") as arrays:
        assert sorted(arrays.files) == ["image_relevance", "logits", "metadata"]


DENSE = network("f = Flatten(x) h = MatMul(f, w) r = Relu(h) y = MatMul(r, v)",
                (1, 2, 3), w=(6, 4), v=(4, 3))  # fmt: skip


SCALED = network("s = Mul(x, c) h = Gemm(s, w, b) y = Gemm(h, v)",
                 (1, 6), c=(6,), w=(6, 4), b=(4,), v=(4, 3))  # fmt: skip


TOKENS = network("h = MatMul(x, w) m = ReduceMean<keepdims=0>(h, a) y = MatMul(m, v)",
                 (1, 5, 3), w=(3, 4), v=(4, 3), a=[1])  # fmt: skip


ALIKE = {
    "a picture flattened": (DENSE, "epsilon-plus-flat", True),
    "features scaled": (SCALED, "epsilon-plus-flat", True),
    "flat everywhere": (SCALED, "flat", True),
    "epsilon": (SCALED, "epsilon", False),
    "tokens differ": (TOKENS, "epsilon-plus-flat", False),
    "a convolution": (picture_net(), "epsilon-plus-flat", False),
    "a dense layer behind a convolution": (picture_net(), "flat", False),
}


@pytest.mark.parametrize("command", ["compile", "explain", "inspect"])
@pytest.mark.parametrize(("model", "composite", "alike"), ALIKE.values(), ids=ALIKE)
def test_features_that_flat_makes_alike_have_a_warning(
    command: str,
    model: onnx.ModelProto,
    composite: str,
    alike: bool,
    folder: Path,
    capsys: Capture,
) -> None:
    write(folder / "m.onnx", model)
    shape = [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    np.save("m.npy", x)
    more = {"compile": ["-o", "o.onnx"], "explain": ["m.npy", "-o", "o.npz"], "inspect": []}
    outcome = run_command(capsys, command, "m.onnx", *more[command], "--composite", composite)
    assert outcome.status == 0
    assert outcome.err.count("the first layer is fully connected") == alike
    result = lrp_onnx.Explainer(lrp_onnx.compile(model, composite=composite))(x)
    (r,) = result.relevance.values()
    assert (np.ptp(r) < 1e-5 * np.abs(r).max()) == alike


RANGES = {
    "one": ([0.002], "absorbed 99.8 % of the relevance:"),
    "a range": ([0.05, 0.002, 0.01], "absorbed 95 to 99.8 % of the relevance:"),
    "some": ([0.9, 0.002, 0.01], "absorbed 99 to 99.8 % of the relevance (2 of 3 times):"),
    "equal": ([0.01, 0.01], "absorbed 99 % of the relevance:"),
    "none": ([0.5, 0.9, 1.2], ""),
    "more": ([0.9, 1.89], "sums to 189% of what is explained (1 of 2 times): biases or rules"),
}


@pytest.mark.parametrize("name", RANGES)
def test_one_note_speaks_of_all_samples(name: str) -> None:
    kept, said = RANGES[name]
    note = note_on([Sample("", "", 2.0, 2 * part) for part in kept])
    assert said in note
    assert bool(said) == bool(note)


@pytest.mark.parametrize("more", [[], ["--target", "top-2"]])
def test_the_note_is_shown_once(more: list[str], folder: Path, capsys: Capture) -> None:
    model = picture_net()
    bias = next(w for w in model.graph.initializer if w.name == "c")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 1e4, np.float32), "c"))
    write(folder / "biased.onnx", model)
    arguments = ["biased.onnx", "x.npy", "-o", "h.html", "--composite", "epsilon", *more]
    shown = run_command(capsys, "explain", *arguments).out
    assert shown.count("absorbed") == 1
    assert (folder / "h.html").read_text(encoding="utf-8").count("absorbed") == (4 if more else 2)


STRIDED = network(
    "c = Conv<strides = [4, 4]>(x, k) f = Flatten(c) y = MatMul(f, w)", (1, 1, 32, 32),
    k=np.ones((1, 1, 1, 1)), w=(64, 3),
)  # fmt: skip


def test_a_lattice_is_averaged_and_said(folder: Path, capsys: Capture) -> None:
    write(folder / "strided.onnx", STRIDED)
    np.save(
        "grid.npy", np.abs(np.random.default_rng(2).standard_normal((1, 1, 32, 32), np.float32))
    )
    given = ["explain", "strided.onnx", "grid.npy", "--composite", "epsilon", "--limits", "1"]
    assert "averaged over 4 pixels" in run_command(capsys, *given, "-o", "r.svg").out
    left = run_command(capsys, *given, "-o", "r.jpg", "--smooth", "off", "--panel", "overlay")
    assert (left.status, "averaged" in left.out) == (0, False)
    page = run_command(capsys, *given, "-o", "r.html")
    assert "averaged over 4 pixels" in page.out
    assert "averaged over 4 px" in Path("r.html").read_text(encoding="utf-8")
    assert str(folder) not in Path("r.html").read_text(encoding="utf-8")
    wrong = run_command(capsys, *given, "-o", "r.png", "--cmap", "jett")
    assert (wrong.status, wrong.out) == (2, "")
    assert "Did you mean jet" in wrong.err
    probabilities = run_command(capsys, *given, "-o", "r.png").out
    assert re.search(r"predicted: class \d, \d+\.\d\d% by softmax", probabilities)
