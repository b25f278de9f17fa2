"""Gradient methods: against finite differences in float64, against each other, and completeness."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command, text_net
from models import assert_close, network, normalized, run
from onnx import helper
from reference import Network, finite_difference

import lrp_onnx
from lrp_onnx import Explainer, InputError, LrpError
from lrp_onnx.analysis import sample_independence as batch
from lrp_onnx.data import digits
from lrp_onnx.gradients import path_points as waypoints
from lrp_onnx.gradients.quadrature import quadrature
from lrp_onnx.graph.clone import cone
from lrp_onnx.graph.model_file import load
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

RNG = np.random.default_rng(5)
SMOOTH = network(
    "h = Gemm(x, w, b)\n t = Tanh(h)\n y = Gemm(t, v, c)",
    (3, 4), w=(4, 6), b=(6,), v=(6, 5), c=(5,),
)  # fmt: skip
X = RNG.standard_normal((3, 4)).astype(np.float32)
TARGETS: dict[str | int, Any] = {
    "argmax": lambda y: np.eye(5)[y.argmax(1)],
    2: lambda y: np.eye(5)[[2] * len(y)],
    "1-3": lambda y: np.eye(5)[[1] * len(y)] - np.eye(5)[[3] * len(y)],
    "all": np.ones_like,
}


def explain(model: onnx.ModelProto, x: Any, given: Any = None, **request: Any) -> Any:
    """The relevance of every explained tensor; `given` is what target input or seed wants."""
    return Explainer(lrp_onnx.compile(model, check=False, **request))(x, given).relevance


def gradient_of(model: onnx.ModelProto, feeds: dict[str, np.ndarray], name: str, seed: np.ndarray):
    """By central differences in float64."""
    net = Network(model)
    return finite_difference(
        lambda v: net.forward({**feeds, name: v})["y"], feeds[name].astype(float), seed
    )


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


IDS = np.array([[3, 1, 4, 1, 5, 9]])


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


def bytes_net() -> onnx.ModelProto:
    """A uint8 picture, reshaped, cast and scaled."""
    model = network(
        "r = Reshape(x, shape)\n f = Cast<to=1>(r)\n s = Mul(f, scale)\n t = Tanh(s)\n"
        "y = Gemm(t, w)",
        (2, 2, 3), shape=[0, 6], scale=np.full(6, 0.01, np.float32), w=(6, 4),
    )  # fmt: skip
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del model.graph.value_info[:]
    return model


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "saliency"])
def test_bytes_are_explained_where_they_become_floats(method: str) -> None:
    x = RNG.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    w = Network(bytes_net()).constants["w"][:, 0].reshape(2, 3)
    g = w * 0.01 * (1 - np.tanh(0.01 * x.astype(float)) ** 2)
    expected = {"gradient": g, "input-x-gradient": x * g, "saliency": np.abs(g)}[method]
    assert_close(explain(bytes_net(), x, target=0, method=method)["x"], expected)


def pair_net() -> onnx.ModelProto:
    """Token ids and features, two outputs of a float type."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embed"),
        helper.make_node("ReduceMean", ["e", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("Mul", ["m", "f"], ["p"], "gate"),
        helper.make_node("Tanh", ["p"], ["t"], "tanh"),
        helper.make_node("Gemm", ["t", "v"], ["a"], "head"),
        helper.make_node("Gemm", ["t", "u"], ["b"], "tail"),
    ]
    rng = np.random.default_rng(8)
    constants = {"table": rng.standard_normal((20, 5)), "v": rng.standard_normal((5, 3)),
                 "u": rng.standard_normal((5, 2))}  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "pair",
        [info("ids", 7, ["N", "T"]), info("f", 1, ["N", 5])],
        [info("a", 1, ["N", 3]), info("b", 1, ["N", 2])],
        [*(onnx.numpy_helper.from_array(c.astype(np.float32), k) for k, c in constants.items()),
         onnx.numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


PAIR = {"ids": np.array([[1, 2, 3], [7, 7, 0]]),
        "f": RNG.standard_normal((2, 5)).astype(np.float32)}  # fmt: skip


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


# integrated gradients


def reference(
    model: onnx.ModelProto,
    x: np.ndarray,
    x0: Any,
    steps: int,
    mask: np.ndarray,
    target: Any,
    apart: bool,
) -> np.ndarray:
    """The same sum, one compiled gradient after the other; for each sample or for all together the
    nearest that is complete.
    """
    given = mask if target == "seed" else None
    explainer = Explainer(lrp_onnx.compile(model, method="gradient", check=False, target=target))
    edges = (np.arange(steps + 1) / steps) ** 3
    total = np.zeros(x.shape)
    for before, behind in itertools.pairwise(edges):
        point = x0 + (before + behind) / 2 * (x - x0)
        total += (behind - before) * explainer(point.astype(np.float32), given).relevance["x"]
    here, there = (run(model, {"x": v.astype(np.float32)})["y"] for v in (x, x0 + 0 * x))
    rows = len(x) if apart else 1
    gone, way, mean = (v.reshape(rows, -1) for v in (mask * (here - there), x - x0, total))
    lacking = gone.sum(1, keepdims=True) - (way * mean).sum(1, keepdims=True)
    return (way * (mean + way * lacking / (way**2).sum(1, keepdims=True))).reshape(x.shape)


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
CONSTANTS = {"zero": [0], "zero0": 0, "last": [-1], "first": [-(2**31)], "minus": [-1],
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
}  # fmt: skip
MORE = {"rows": [-1, 1], "one": (1, 1), "whole": [-1, 4], "turned": [4, 3], "v": (2, 4),
        "axes": [1], "behind": [2], "k": (4, 1, 3), "minus": [-1]}  # fmt: skip
APART_IF_FIXED = ("divided by its size", "rows flattened")


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
    size = batch.fixed_batch_size([x]) if fixed else batch.batch_size([x])
    assert size is not None
    nodes = cone(model.graph, {x}, [y])
    apart = name in APART or (fixed and name in APART_IF_FIXED)
    assert batch.independent(nodes, {x}, size) == apart


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
    apart = name in APART or (fixed and name in APART_IF_FIXED)
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
    assert all(line.startswith("completeness") for line in shares)
    assert "note" not in outcome.out
    if ending == "html":
        text = out.read_text(encoding="utf-8")
        assert "conservation" not in text
        assert method.replace("-", " ").capitalize() in text
    if ending == "npz":
        assert set(np.load(out)) == {"logits", "image_relevance", "metadata"}
