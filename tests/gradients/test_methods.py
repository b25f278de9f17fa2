"""Gradient methods: against finite differences in float64, against each other, and completeness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command, text_net
from gradient_models import IDS, PAIR, RNG, SMOOTH, X, bytes_net, explain, gradient_of, pair_net
from models import assert_close
from reference import Network

import lrp_onnx
from lrp_onnx import Explainer

TARGETS: dict[str | int, Any] = {
    "argmax": lambda y: np.eye(5)[y.argmax(1)],
    2: lambda y: np.eye(5)[[2] * len(y)],
    "1-3": lambda y: np.eye(5)[[1] * len(y)] - np.eye(5)[[3] * len(y)],
    "all": np.ones_like,
}


@pytest.mark.parametrize("target", TARGETS)
def test_gradient_is_the_derivative_of_the_target(target: str | int) -> None:
    seed = TARGETS[target](Network(SMOOTH).forward({"x": X})["y"])
    g = gradient_of(SMOOTH, {"x": X}, "x", seed)
    assert_close(explain(SMOOTH, X, target=target, method="gradient")["x"], g)
    assert_close(explain(SMOOTH, X, target=target, method="input-x-gradient")["x"], X * g)
    assert_close(explain(SMOOTH, X, target=target, method="saliency")["x"], np.abs(g))
    with pytest.raises(AssertionError, match="max"):
        assert_close(explain(SMOOTH, X, target=target, method="gradient")["x"], 1.01 * g)


def test_behind_a_softmax_it_is_that_of_the_logits() -> None:
    x = RNG.standard_normal((2, 1, 8, 8)).astype(np.float32)
    plain = explain(picture_net(), x, target=1, method="gradient")["image"]
    assert_close(explain(picture_net(softmax=True), x, target=1, method="gradient")["image"], plain)


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "saliency"])
def test_inner_tensors_have_gradients_too(method: str) -> None:
    found = explain(SMOOTH, X, target=2, method=method, relevance_at=["t", "h"])
    t = np.tanh(Network(SMOOTH).forward({"x": X})["h"])
    v = Network(SMOOTH).constants["v"][:, 2]
    at_t, at_h = np.broadcast_to(v, t.shape), v * (1 - t**2)
    made = {"gradient": lambda x, g: g, "input-x-gradient": np.multiply,
            "saliency": lambda x, g: np.abs(g)}[method]  # fmt: skip
    assert_close(found["t"], made(t, at_t))
    assert_close(found["h"], made(Network(SMOOTH).forward({"x": X})["h"], at_h))


def test_a_tokens_value_is_summed_over_its_embedding() -> None:
    model = text_net()
    table, v = (onnx.numpy_helper.to_array(t) for t in
                (model.graph.initializer[0], model.graph.initializer[2]))  # fmt: skip
    e, g = table[IDS[0]], np.broadcast_to(v[:, 1] / 6, (6, 5))
    got = {m: explain(model, IDS, target=1, method=m)["ids"][0]
           for m in ("gradient", "input-x-gradient", "saliency")}  # fmt: skip
    assert_close(got["gradient"], g.sum(1))
    assert_close(got["input-x-gradient"], (e * g).sum(1))
    assert_close(got["saliency"], np.abs(g).sum(1))


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "saliency"])
def test_bytes_are_explained_where_they_become_floats(method: str) -> None:
    x = RNG.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    w = Network(bytes_net()).constants["w"][:, 0].reshape(2, 3)
    g = w * 0.01 * (1 - np.tanh(0.01 * x.astype(float)) ** 2)
    expected = {"gradient": g, "input-x-gradient": x * g, "saliency": np.abs(g)}[method]
    assert_close(explain(bytes_net(), x, target=0, method=method)["x"], expected)


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "integrated-gradients"])
def test_inputs_at_once_and_an_output_of_several(method: str) -> None:
    both = explain(pair_net(), PAIR, output="b", target=1, explain=["ids", "f"], method=method)
    assert (both["ids"].shape, both["f"].shape) == ((2, 3), (2, 5))
    if method != "integrated-gradients":  # there the path moves both
        for name in ("ids", "f"):
            one = explain(pair_net(), PAIR, output="b", target=1, explain=name, method=method)
            assert_close(both[name], one[name])
    else:
        y = Explainer(lrp_onnx.compile(pair_net(), output="b"))(PAIR).outputs["b"][:, 1]
        total = both["ids"].sum(1) + both["f"].sum(1)
        assert_close(total, y, 2e-3)  # tanh of zero: f(x₀) = 0; 32 steps


@pytest.mark.parametrize("method", ["gradient", "saliency", "integrated-gradients"])
@pytest.mark.parametrize("ending", ["png", "html", "npz"])
def test_explain_speaks_of_no_conservation(
    method: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(picture_net(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", RNG.standard_normal((1, 1, 8, 8)).astype(np.float32))
    out = tmp_path / f"out.{ending}"
    outcome = run_command(capsys, "explain", tmp_path / "model.onnx", tmp_path / "x.npy",
                          "-o", out, "--method", method)  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    assert f"by {method}" in outcome.out
    shares = [line for line in outcome.out.splitlines() if "%" in line]
    assert all(line.startswith(("completeness", "sample")) for line in shares)
    assert "note" not in outcome.out
    if ending == "html":
        text = out.read_text(encoding="utf-8")
        assert "conservation" not in text
        assert method.replace("-", " ").capitalize() in text
    if ending == "npz":
        assert set(np.load(out)) == {"logits", "image_relevance", "metadata"}
