"""Integrated gradients take many points of a path in one batch, where no node mixes samples."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from gradient_models import X, reference
from models import assert_close, network, normalized, run

import lrp_onnx
from lrp_onnx.analysis.sample_independence import batch_size, independent
from lrp_onnx.analysis.sample_places import sample_axis
from lrp_onnx.gradients import path_points as waypoints
from lrp_onnx.gradients.quadrature import quadrature
from lrp_onnx.graph.clone import cone
from lrp_onnx.graph.model_file import load

BODY = "h = Gemm(x, w, b)\n t = Tanh(h)\n "
WEIGHTS = {"w": (4, 4), "b": (4,)}
MIXING = {
    "one sample against all": BODY + "m = ReduceMean<keepdims=1>(t, zero)\n y = Mul(t, m)",
    "softmax over the batch": BODY + "s = Softmax<axis=0>(t)\n y = Mul(s, t)",
    "the batch times itself": BODY + "u = Transpose(t)\n g = MatMul(t, u)\n y = MatMul(g, t)",
    "the batch as a channel": BODY + "u = Transpose(t)\n s = Softmax<axis=1>(u)\n"
    "q = Transpose(s)\n y = Mul(q, t)",
    "divided by its size": BODY + "n = Shape(t)\n c = Cast<to=1>(n)\n d = Gather(c, zero0)\n"
    "y = Div(t, d)",
    "layers of rank 3": BODY + "u = Unsqueeze(t, axes)\n g = MatMul(u, w)\n a = Add(g, b)\n"
    "m = ReduceMean<keepdims=1>(a, zero)\n q = Mul(a, m)\n y = Squeeze(q, axes)",
    "sorted": BODY + "u = Slice(t, last, first, zero, minus)\n y = Mul(t, u)",
    "rows flattened": BODY + "u = Unsqueeze(t, axes)\n p = Transpose<perm=[0,2,1]>(u)\n"
    "f = Reshape(p, rows)\n g = Gemm(f, one)\n s = Tanh(g)\n y = Reshape(s, whole)",
    "rows exchanged": BODY + "f = Reshape(t, rows)\n u = Reshape(f, turned)\n"
    "p = Transpose<perm=[1,0]>(u)\n y = Gemm(p, w)",
    "shifted": BODY + "u = Pad(t, shift)\n y = Mul(t, u)",
}  # fmt: skip

CONSTANTS = {"zero": [0], "zero0": 0, "one0": 1, "last": [-1], "first": [-(2**31)], "minus": [-1],
             "shift": [1, 0, -1, 0], "along": [0, 1, 0, -1], "starts": [2],
             "ends": [2**31]}  # fmt: skip


APART = {
    "dense": BODY + "y = Gemm(t, w)",
    "convolution": "u = Unsqueeze(x, axes)\n c = Conv(u, k)\n t = Tanh(c)\n s = Shape<end=1>(x)\n"
    "m = Concat<axis=0>(s, minus)\n y = Reshape(t, m)",
    "attention": BODY + "u = Unsqueeze(t, axes)\n p = Transpose<perm=[0,2,1]>(u)\n"
    "a = MatMul(p, u)\n s = Softmax<axis=-1>(a)\n o = MatMul(s, p)\n y = Squeeze(o, behind)",
    "cut and padded": BODY + "u = Pad(t, along)\n c = Slice(u, starts, ends, minus)\n"
    "d = Gemm(c, v)\n y = Tanh(d)",
    "normalized": BODY + "m = ReduceMean<keepdims=1>(t, minus)\n y = Sub(t, m)",
    "divided by a width": BODY + "n = Shape(t)\n c = Gather(n, one0)\n f = Cast<to=1>(c)\n"
    "y = Div(t, f)",
    "positions": BODY + "n = Shape<start=1>(t)\n c = Squeeze(n)\n r = Range(zero0, c, one0)\n"
    "p = Gather(w, r)\n q = ReduceMean<keepdims=0>(p, zero)\n y = Add(t, q)",
}  # fmt: skip

MORE = {"rows": [-1, 1], "one": (1, 1), "whole": [-1, 4], "turned": [4, 3], "v": (2, 4),
        "axes": [1], "behind": [2], "k": (4, 1, 3), "minus": [-1]}  # fmt: skip


APART_BUT_FOR_POINTS = ("divided by its size", "rows flattened")
"""Where points cannot be more samples of the batch, though samples do not meet."""


def made(body: str, batch_axis: tuple[int, ...] = (0,)) -> onnx.ModelProto:
    """The network with the constants that it reads."""
    known = {**WEIGHTS, **CONSTANTS, **MORE}
    read = {part.strip("() ,\n") for part in body.replace("(", " ").replace(",", " ").split()}
    used = {name: value for name, value in known.items() if name in read}
    return network(body, (3, 4), symbolic=batch_axis, **used)


def scans(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "Scan" for node in model.graph.node)


@pytest.mark.parametrize("name", [*MIXING, *APART])
@pytest.mark.parametrize("fixed", [False, True], ids=["open", "fixed"])
def test_samples_are_independent_where_no_node_mixes_them(name: str, fixed: bool) -> None:
    model = normalized(load(made({**MIXING, **APART}[name], () if fixed else (0,))))
    (x,), (y,) = model.graph.inputs, model.graph.outputs
    nodes, size = cone(model.graph, {x}, [y]), batch_size([x])
    assert fixed or (size is not None and independent(nodes, {x}, size) == (name in APART))
    assert (sample_axis(nodes, {x}, 0, y) == 0) == (name in APART or name in APART_BUT_FOR_POINTS)


BESIDE = {  # made of what is not moved: it mixes samples, and is repeated as it is
    "numbers of samples": BODY + "n = Shape<end=1>(t)\n c = Squeeze(n)\n"
    "r = Range(zero0, c, one0)\n f = Cast<to=1>(r)\n u = Unsqueeze(f, axes)\n y = Mul(t, u)",
    "its size again and again": BODY + "n = Shape<end=1>(t)\n s = Shape(t)\n e = Expand(n, s)\n"
    "f = Cast<to=1>(e)\n y = Div(t, f)",
    "another input": BODY + "m = ReduceMean<keepdims=1>(other, zero)\n s = Sub(other, m)\n"
    "y = Mul(t, s)",
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_not_moved_is_repeated(name: str) -> None:
    seed = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)
    found = []
    for batch_axis in ((0,), ()):  # of a fixed batch one point is taken after the other
        model = made(BESIDE[name], batch_axis)
        compiled = lrp_onnx.compile(
            model, method="integrated-gradients", steps=5, target="seed", explain="x"
        ).model
        assert scans(compiled) == (not batch_axis)
        feeds = {"x": X, "y_seed": seed, "other": X[::-1] + 1}
        read = {v.name for v in compiled.graph.input}
        found.append(run(compiled, {k: v for k, v in feeds.items() if k in read})["x_relevance"])
    assert_close(*found)


def seed_of(model: onnx.ModelProto) -> np.ndarray:
    shape = run(model, {"x": X})["y"].shape
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", [*MIXING, *APART])
@pytest.mark.parametrize("fixed", [False, True], ids=["open", "fixed"])
def test_steps_are_batched_only_where_samples_are_independent(name: str, fixed: bool) -> None:
    model = made({**MIXING, **APART}[name], () if fixed else (0,))
    compiled = lrp_onnx.compile(model, method="integrated-gradients", steps=5, target="seed")
    assert scans(compiled.model) == (fixed or name in MIXING)
    onnx.checker.check_model(compiled.model, full_check=True)
    apart = name in APART or name in APART_BUT_FOR_POINTS
    expected = reference(model, X, 0.0, 5, seed_of(model), "seed", apart=apart)
    assert_close(run(compiled.model, {"x": X, "y_seed": seed_of(model)})["x_relevance"], expected)


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 7])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_points_are_taken_in_groups(steps: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waypoints, "BYTES", most * 3 * 4 * 4)  # three tensors of four floats
    model = made(APART["dense"])
    compiled = lrp_onnx.compile(model, method="integrated-gradients", steps=steps, target="seed")
    assert scans(compiled.model) == (steps > most)
    expected = reference(model, X, 0.0, steps, seed_of(model), "seed", apart=True)
    assert_close(run(compiled.model, {"x": X, "y_seed": seed_of(model)})["x_relevance"], expected)


@pytest.mark.parametrize(("steps", "most"), [(128, 5), (7, 7), (7, 4), (3, 9), (1, 1)])
def test_groups_hold_every_point_once(steps: int, most: int) -> None:
    points = quadrature(steps)
    groups = points.in_groups(most)
    assert groups.fractions.shape[1] <= most
    assert_close(groups.fractions.ravel()[:steps], points.fractions)
    assert_close(groups.weights.ravel()[:steps], points.weights)
    assert not groups.weights.ravel()[steps:].any()
    assert abs(groups.weights.sum() - 1) < 1e-12


def test_a_size_of_the_batch_that_is_repeated_is_no_constant() -> None:
    graph = normalized(load(made(BESIDE["its size again and again"]))).graph
    nodes = cone(graph, set(graph.inputs), [graph.outputs[0]])
    assert not independent(nodes, set(graph.inputs), "axis0_3")


def test_batching_what_is_not_independent_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waypoints, "independent", lambda *given: True)
    model = made(MIXING["one sample against all"])
    compiled = lrp_onnx.compile(model, method="integrated-gradients", steps=5, target="seed")
    assert not scans(compiled.model)
    expected = reference(model, X, 0.0, 5, seed_of(model), "seed", apart=False)
    with pytest.raises(AssertionError, match="max"):
        assert_close(
            run(compiled.model, {"x": X, "y_seed": seed_of(model)})["x_relevance"], expected
        )


@pytest.mark.parametrize(("runtime", "said"), [("portable", True), ("cpu", False)])
def test_a_loop_in_a_loop_is_told(runtime: str, said: bool) -> None:
    body = "u = Unsqueeze(x, axes)\n h = LSTM<hidden_size=3>(u, wx, wh)\n y = Squeeze(h, axes)"
    model = network(body, (5, 4), axes=[1], wx=(1, 12, 4), wh=(1, 12, 3))
    options = {"class_axis": 1, "target": "all", "runtime": runtime, "steps": 4}
    compiled = lrp_onnx.compile(model, method="integrated-gradients", **options)
    assert any("loop in a loop" in text for text in compiled.warnings) == said


@pytest.mark.parametrize(("body", "x", "open_axes", "most"), [
    ("c = Conv(x, k2) y = GlobalAveragePool(c)", (2, 1, 6, 6), (0, 2, 3), 2),
    ("c = Conv(x, k2) y = GlobalAveragePool(c)", (2, 1, 6, 6), (0,), 16),
    ("t = Tanh(x) y = ReduceSum(t, one1)", (2, 5, 4), (0, 1), 8),
])  # fmt: skip
def test_so_many_points_are_taken_together(
    body: str, x: tuple[int, ...], open_axes: tuple[int, ...], most: int
) -> None:
    constants = {"k2": (2, 1, 3, 3)} if "Conv" in body else {"one1": [1]}
    model = network(body, x, open_axes, **constants)
    compiled = lrp_onnx.compile(model, method="integrated-gradients", steps=16, target="all").model
    (batch,) = {
        v.type.tensor_type.shape.dim[0].dim_value
        for node in compiled.graph.node if node.op_type == "Scan"
        for attribute in node.attribute if attribute.name == "body"
        for v in attribute.g.input if v.name.endswith("fraction")
    } or {16}  # fmt: skip
    assert batch == most


def test_a_resize_to_computed_sizes_may_stand_in_a_loop() -> None:
    body = (
        "c = Conv(x, k2) m = ReduceMean<keepdims=1>(c, hw) b = Sub(c, m) s = Shape<start=2>(x)"
        ' e = Shape<end=2>(b) f = Concat<axis=0>(e, s) r = Resize<mode="linear">(b, , , f)'
        " t = Relu(r) y = GlobalAveragePool(t)"
    )
    model = network(body, (2, 1, 6, 6), (0, 2, 3), k2=(2, 1, 3, 3), hw=[2, 3])
    compiled = lrp_onnx.compile(model, method="integrated-gradients", steps=5, target="all").model
    assert scans(compiled)
    x = np.random.default_rng(5).standard_normal((2, 1, 7, 9)).astype(np.float32)
    found = run(compiled, {"x": x})
    lost = found["x_relevance"].sum((1, 2, 3)) - found["y"].sum((1, 2, 3))
    assert np.abs(lost).max() < 1e-4 * np.abs(found["y"]).max()


ELSEWHERE = {
    "steps in front": "o, h, c = LSTM<hidden_size=2>(x, lstm_w, lstm_r) t = Squeeze(h, zero)"
    " y = MatMul(t, out)",
    "windows flattened": "f = Reshape(x, windows) g = MatMul(f, first) t = Tanh(g)"
    " r = Reshape(t, back) y = ReduceMean<keepdims=0>(r, one)",
}  # fmt: skip


@pytest.mark.parametrize(("name", "axis"), [*zip(ELSEWHERE, (1, 0), strict=True)])
def test_samples_together_get_what_each_gets_alone(name: str, axis: int) -> None:
    """So their relevance is complete sample by sample."""
    known = {"lstm_w": (1, 8, 4), "lstm_r": (1, 8, 2), "out": (2, 3), "first": (4, 3),
             "windows": [-1, 4], "back": [-1, 5, 3], "one": [1], "zero": [0]}  # fmt: skip
    body = ELSEWHERE[name]
    used = {k: v for k, v in known.items() if k in body.replace(",", " ").replace(")", " ").split()}
    model = network(body, (3, 5, 4), (axis,), **used)
    compiled = lrp_onnx.compile(model, method="integrated-gradients", steps=2, target="all")
    x = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    together = run(compiled.model, {"x": x})["x_relevance"]
    for n in range(x.shape[axis]):
        alone = run(compiled.model, {"x": x.take([n], axis)})["x_relevance"]
        assert_close(together.take([n], axis), alone)
