"""Integrated gradients: targets, baselines, completeness, what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import run_command, text_net
from gradient_models import IDS, RNG, SMOOTH, X, bytes_net, explain, pair_net, reference
from models import assert_close, network, run
from onnx import helper
from reference import Network
from test_methods import TARGETS

import lrp_onnx
from lrp_onnx import Explainer, InputError, LrpError
from lrp_onnx.data import digits
from lrp_onnx.gradients import path_points as waypoints
from lrp_onnx.gradients.quadrature import quadrature
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify


@pytest.mark.parametrize("form", ["batch", "scan"])
@pytest.mark.parametrize("target", ["argmax", 2, "1-3", "all", "max", "input", "seed"])
def test_the_target_is_chosen_once(
    target: str | int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "scan":
        monkeypatch.setattr(waypoints, "independent", lambda *given: False)
    y = run(SMOOTH, {"x": X})["y"].astype(float)
    given = {"input": [4, 0, 2], "seed": RNG.standard_normal((3, 5)).astype(np.float32)}.get(target)
    mask = {"max": TARGETS["argmax"](y), "input": np.eye(5)[[4, 0, 2]], "seed": given}.get(target)
    mask = TARGETS[target](y) if mask is None else mask
    zero = run(SMOOTH, {"x": 0 * X})["y"]
    r = explain(SMOOTH, X, given, target=target, method="integrated-gradients", steps=256)["x"]
    assert_close(r.sum(1), (mask * (y - zero)).sum(1), 2e-5)  # the midpoint rule at 256 steps


@pytest.mark.parametrize("steps", [1, 4])
def test_every_number_of_steps_is_complete(steps: int) -> None:
    """And nearer to the integral than the gradients at the steps are."""
    request = {"target": 1, "method": "integrated-gradients"}
    r = explain(SMOOTH, X, steps=steps, **request)["x"]
    here, there = (run(SMOOTH, {"x": v})["y"][:, 1] for v in (X, 0 * X))
    assert_close(r.sum(1), here - there)
    integral = explain(SMOOTH, X, steps=2000, **request)["x"] / X
    points = quadrature(steps)
    gradients = Explainer(lrp_onnx.compile(SMOOTH, method="gradient", target=1))
    mean = sum(
        w * gradients((a * X).astype(np.float32)).relevance["x"]
        for a, w in zip(points.fractions, points.weights, strict=True)
    )
    nearer, before = (np.linalg.norm(g - integral, axis=1) for g in (r / X, mean))
    assert (nearer < before).all()


def test_a_sample_at_its_baseline_has_no_relevance() -> None:
    x = np.stack([X[0], 0 * X[0]])
    r = explain(SMOOTH, x, target=1, method="integrated-gradients", steps=4)["x"]
    assert np.isfinite(r).all()
    assert not r[1].any()
    assert_close(
        r[:1], explain(SMOOTH, X[:1], target=1, method="integrated-gradients", steps=4)["x"]
    )


@pytest.mark.parametrize(
    ("baseline", "point"),
    [
        ("zero", 0.0),
        ("mean", X.mean(1, keepdims=True)),
        (np.full((1, 4), 0.3, np.float32), 0.3),
        ({"x": np.arange(4, dtype=np.float32)}, np.arange(4.0)),
    ],
    ids=["zero", "mean", "array", "by name"],
)
def test_baselines(baseline: Any, point: Any) -> None:
    request = {"target": 1, "steps": 7}
    r = explain(SMOOTH, X, method="integrated-gradients", baseline=baseline, **request)["x"]
    assert_close(r, reference(SMOOTH, X, point, 7, np.eye(5)[1], 1, apart=True))


def test_a_baseline_of_token_ids_is_embedded(tmp_path: Path) -> None:
    model, pad = text_net(), np.zeros((1, 6), np.int64)
    np.save(tmp_path / "pad.npy", pad)
    request = {"target": 1, "method": "integrated-gradients"}
    r = explain(model, IDS, baseline=tmp_path / "pad.npy", **request)["ids"]
    own, other = (run(model, {"ids": i})["logits"][0, 1] for i in (IDS, pad))
    assert_close(r.sum(), np.float32(own - other))  # the network is linear
    assert_close(explain(model, IDS, **request)["ids"].sum(), own)
    mean = explain(model, IDS, baseline="mean", **request)["ids"]
    assert_close(mean + 1, np.ones((1, 6)) + mean)
    assert abs(mean.sum()) < 1e-5  # the mean embedding gives the same logits


def test_bytes_on_their_path() -> None:
    x = RNG.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    net = Network(bytes_net())
    zero = net.forward({"x": np.zeros_like(x)})["y"][:, 0]
    r = explain(bytes_net(), x, target=0, method="integrated-gradients", steps=256)["x"]
    assert_close(r.sum((1, 2)), net.forward({"x": x})["y"][:, 0] - zero, 1e-4)


def test_half_precision() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(SMOOTH)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del model.graph.value_info[:]
    r = explain(model, X.astype(np.float16), target=1, method="integrated-gradients")["x"]
    assert r.dtype == np.float16
    assert_close(r.astype(float), reference(SMOOTH, X, 0.0, 32, np.eye(5)[1], 1, apart=True), 1e-2)


def test_through_a_body() -> None:
    """s ← tanh(s·a + x_t) over time in a Scan, with the first state explained too."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Mul", ["s", "a"], ["m"], "m"),
        helper.make_node("Add", ["m", "xt"], ["p"], "p"),
        helper.make_node("Tanh", ["p"], ["so"], "t"),
    ]
    step = helper.make_graph(
        nodes, "step", [info("s", 1, ["N", 3]), info("xt", 1, ["N", 3])], [info("so", 1, ["N", 3])]
    )
    nodes = [
        helper.make_node("Transpose", ["x"], ["xs"], "time", perm=[1, 0, 2]),
        helper.make_node("Scan", ["s0", "xs"], ["sf"], "scan", body=step, num_scan_inputs=1),
        helper.make_node("MatMul", ["sf", "w"], ["y"], "head"),
    ]
    weights = {"a": np.array([0.5, 0.6, 0.7]), "w": np.random.default_rng(0).normal(size=(3, 4))}
    graph = helper.make_graph(
        nodes, "recurrent", [info("x", 1, ["N", "T", 3]), info("s0", 1, ["N", 3])],
        [info("y", 1, ["N", 4])],
        [onnx.numpy_helper.from_array(w.astype(np.float32), k) for k, w in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    feeds = {"x": RNG.standard_normal((2, 5, 3)).astype(np.float32),
             "s0": np.ones((2, 3), np.float32)}  # fmt: skip
    r = explain(model, feeds, target=1, method="integrated-gradients", steps=512)
    y = run(model, feeds)["y"][:, 1]  # it is 0 at zero
    assert_close(r["x"].sum((1, 2)) + r["s0"].sum(1), y, 2e-5)


@pytest.mark.parametrize("form", ["batch", "scan"])
def test_completeness_on_the_digits(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "scan":
        monkeypatch.setattr(waypoints, "independent", lambda *given: False)
    model, images, _ = digits.load()
    x = (images[:, None] / 255).astype(np.float32)
    request = CompileOptions(method="integrated-gradients", steps=128)
    verdict = verify(model, request, {"image": x})
    assert verdict.problems == ()
    assert verdict.completeness is not None
    assert verdict.completeness.error < 0.01
    r = explain(model, x, method="integrated-gradients", steps=128)["image"].sum((1, 2, 3))
    y, zero = (Explainer(lrp_onnx.compile(model))(v).outputs["logits"] for v in (x, 0 * x))
    best = y.argmax(1)[:, None]
    gone = np.take_along_axis(y - zero, best, 1)[:, 0]
    assert np.abs(r - gone).max() < 0.01 * np.abs(gone).max()


def test_too_few_steps_are_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sharp = network("h = Mul(x, k)\n t = Sigmoid(h)\n y = Neg(t)", (1, 2),
                    k=np.full(2, 500, np.float32))  # fmt: skip
    onnx.save(sharp, tmp_path / "sharp.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 2), np.float32))
    asked = [tmp_path / "sharp.onnx", tmp_path / "x.npy", "--method=integrated-gradients"]
    outcome = run_command(capsys, "verify", *asked, "--steps=3")
    assert outcome.status == 1
    assert "does not hold: completeness" in outcome.err
    assert "more than 3 --steps" in outcome.err
    outcome = run_command(capsys, "verify", *asked, "--steps=2000")
    assert (outcome.status, outcome.err) == (0, "")
    assert "at 2000 steps" in outcome.out


@pytest.mark.parametrize(("steps", "decide"), [(8, True), (512, False)])
def test_steps_that_decide_the_map_are_told(steps: int, decide: bool) -> None:
    """Near the baseline a norm goes from 0 to its size, and each entry's share with it, though the
    sum over them is right.
    """
    normed = network(
        "q = Mul(x, x) m = ReduceMean(q, last) e = Add(m, eps) r = Sqrt(e) n = Div(x, r) "
        "h = MatMul(n, w) t = Tanh(h) y = MatMul(t, v)",
        (2, 6), last=[-1], eps=1e-6, w=(6, 8), v=(8, 3),
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    request = CompileOptions(method="integrated-gradients", steps=steps)
    verdict = verify(normed, request, {"x": x})
    assert verdict.completeness is not None
    assert ("half of the" in verdict.ill_conditioned) == decide
    whole, half = (
        explain(normed, x, method="integrated-gradients", steps=s)["x"] for s in (steps, steps // 2)
    )
    change = np.abs(whole - half).max(1) / np.abs(whole).max(1)
    assert verdict.completeness.change == pytest.approx(change.max(), rel=1e-2, abs=1e-4)


@pytest.mark.parametrize(
    ("request_", "fact"),
    [
        ({"baseline": {"z": "zero"}}, "'z'"),
        ({"baseline": np.zeros((1, 5), np.float32)}, "shape"),
        ({"baseline": np.zeros((2, 4), np.float32)}, "Give one, which is for all"),
        ({"baseline": "nowhere.npy"}, "nowhere.npy"),
        ({"relevance_at": "h"}, "no tensor in between"),
        ({"conditions": "h"}, "Choose another method"),
        ({"steps": 0}, "steps 0"),
    ],
    ids=str,
)
def test_what_integrated_gradients_refuse(request_: dict[str, Any], fact: str) -> None:
    with pytest.raises(LrpError, match=fact):
        lrp_onnx.compile(SMOOTH, method="integrated-gradients", **request_)


def test_a_baseline_needs_a_name_where_there_are_several_inputs() -> None:
    with pytest.raises(InputError, match="NAME=FILE"):
        lrp_onnx.compile(pair_net(), output="b", method="integrated-gradients",
                         baseline=np.zeros((1, 5), np.float32))  # fmt: skip
    with pytest.raises(LrpError, match="not explained"):
        lrp_onnx.compile(pair_net(), output="b", method="integrated-gradients", explain="f",
                         baseline={"ids": np.zeros((1, 3), np.int64)})  # fmt: skip
