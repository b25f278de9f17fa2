"""Grad-CAM against its formula in float64, layout by layout, and what has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command, text_net
from models import Array, assert_close, network
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from reference import Network, finite_difference

import lrp_onnx
from lrp_onnx import Explainer, TargetError

HEAD = "g = GlobalAveragePool(t)\n f = Flatten(g)\n y = Gemm(f, v)"


@dataclass(frozen=True)
class Row:
    """A network, its layer, and which axes of the layer continue which of the input."""

    name: str
    body: str
    x: tuple[int, ...]
    layer: str
    positions: dict[int, int]
    """The input's axis: the layer's."""
    constants: dict[str, Any] = field(default_factory=dict)
    given: str | None = None
    """What --layer names, where it is named."""
    free: tuple[int, ...] = (0,)


ROWS = [
    Row("picture", "h = Conv<pads=[1,1,1,1]>(x, w, b)\n r = Relu(h)\n"
        "z = Conv<strides=[2,2]>(r, u)\n t = Tanh(z)\n" + HEAD, (2, 3, 9, 7), "z", {2: 2, 3: 3},
        {"w": (4, 3, 3, 3), "b": (4,), "u": (5, 4, 3, 3), "v": (5, 3)}),
    Row("free sizes", "h = Conv<pads=[1,1,1,1]>(x, w, b)\n r = Relu(h)\n"
        "z = Conv<strides=[2,2]>(r, u)\n t = Tanh(z)\n" + HEAD, (2, 3, 9, 7), "z", {2: 2, 3: 3},
        {"w": (4, 3, 3, 3), "b": (4,), "u": (5, 4, 3, 3), "v": (5, 3)}, free=(0, 1, 2, 3)),
    Row("named tensor", "h = Conv<pads=[1,1,1,1]>(x, w)\n r = Sigmoid(h)\n p = MaxPool<"
        "kernel_shape=[2,2], strides=[2,2]>(r)\n z = Conv(p, u)\n t = Tanh(z)\n" + HEAD,
        (2, 1, 8, 6), "p", {2: 2, 3: 3}, {"w": (4, 1, 3, 3), "u": (5, 4, 3, 3), "v": (5, 3)}, "p"),
    Row("one position is no map", "z = Conv(x, w)\n t = Tanh(z)\n g = GlobalAveragePool(t)\n"
        "c = Conv(g, u)\n f = Flatten(c)\n y = Gemm(f, v)", (2, 3, 5, 6), "z", {2: 2, 3: 3},
        {"w": (4, 3, 2, 3), "u": (5, 4, 1, 1), "v": (5, 3)}),
    Row("beside a gate", "z = Conv(x, w)\n g = GlobalAveragePool(z)\n c = Conv(g, u)\n"
        "s = Sigmoid(c)\n t = Mul(z, s)\n m = GlobalAveragePool(t)\n f = Flatten(m)\n"
        "y = Gemm(f, v)", (2, 3, 5, 6), "z", {2: 2, 3: 3},
        {"w": (4, 3, 2, 3), "u": (4, 4, 1, 1), "v": (4, 3)}),
    Row("channels last", "n = Transpose<perm=[0,3,1,2]>(x)\n z = Conv(n, w)\n t = Tanh(z)\n" + HEAD,
        (2, 6, 5, 3), "z", {1: 2, 2: 3}, {"w": (4, 3, 3, 3), "v": (4, 3)}),
    Row("height and width exchanged", "n = Transpose<perm=[0,1,3,2]>(x)\n z = Conv(n, w)\n"
        "t = Tanh(z)\n" + HEAD, (2, 3, 6, 9), "z", {2: 3, 3: 2}, {"w": (4, 3, 3, 3), "v": (4, 3)}),
    Row("a layer with channels last", "z = Conv(x, w)\n l = Transpose<perm=[0,2,3,1]>(z)\n"
        "k = Tanh(l)\n t = Transpose<perm=[0,3,1,2]>(k)\n" + HEAD, (2, 3, 6, 9), "k",
        {2: 1, 3: 2}, {"w": (4, 3, 3, 3), "v": (4, 3)}, "k"),
    Row("signal", "z = Conv<strides=[2]>(x, w)\n t = Tanh(z)\n" + HEAD, (2, 3, 11), "z", {2: 2},
        {"w": (4, 3, 3), "v": (4, 3)}),
    Row("signal without channels", "n = Unsqueeze(x, one)\n z = Conv<strides=[2]>(n, w)\n"
        "t = Tanh(z)\n" + HEAD, (2, 11), "z", {1: 2}, {"w": (4, 1, 3), "v": (4, 3), "one": [1]}),
    Row("signal as a picture of one row", "n = Reshape(x, as)\n z = Conv(n, w)\n t = Tanh(z)\n"
        + HEAD, (2, 3, 11), "z", {2: 3}, {"w": (4, 3, 1, 3), "v": (4, 3), "as": [-1, 3, 1, 11]}),
    Row("volume", "z = Conv(x, w)\n t = Tanh(z)\n" + HEAD, (2, 2, 5, 4, 6), "z",
        {2: 2, 3: 3, 4: 4}, {"w": (4, 2, 2, 3, 2), "v": (4, 3)}),
    Row("no batch", "n = Unsqueeze(x, zero)\n z = Conv(n, w)\n t = Tanh(z)\n" + HEAD, (3, 6, 5),
        "z", {1: 2, 2: 3}, {"w": (4, 3, 3, 3), "v": (4, 3), "zero": [0]}, free=()),
]  # fmt: skip


def interpolation(small: int, large: int) -> Array:
    """[large, small]: weights of linear interpolation between centers of positions."""
    at = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = np.minimum(np.floor(at).astype(int), max(small - 2, 0))
    weights = np.zeros((large, small))
    weights[np.arange(large), low] = 1 - (at - low)
    weights[np.arange(large), np.minimum(low + 1, small - 1)] += at - low
    return weights


def oracle(row: Row, model: onnx.ModelProto, x: Array, seed: Array) -> Array:
    """Grad-CAM by finite differences behind the layer, written out axis by axis."""
    values = Network(model).forward({"x": x})
    a = values[row.layer]
    g = finite_difference(lambda v: behind(model, row.layer, v, values), a, seed)
    positions = tuple(row.positions.values())
    channels = tuple(k for k in range(1, a.ndim) if k not in positions)
    weighed = (g.mean(positions, keepdims=True) * a).sum(channels, keepdims=True)
    small = np.maximum(weighed, 0)
    order = [0, *positions, *channels]
    maps = small.transpose(order).reshape(len(a), *(a.shape[k] for k in positions))
    for k, axis in enumerate(row.positions):
        maps = np.moveaxis(
            np.tensordot(interpolation(maps.shape[k + 1], x.shape[axis]), maps, (1, k + 1)), 0,
            k + 1,
        )  # fmt: skip
    batched = 0 not in row.positions and row.name != "no batch"
    others = [k for k in range(int(batched), x.ndim) if k not in row.positions]
    maps = maps if batched else maps[0]
    shares = np.expand_dims(maps, others) / np.prod([x.shape[k] for k in others])
    return np.broadcast_to(shares, x.shape)


def behind(model: onnx.ModelProto, layer: str, a: Array, values: dict[str, Array]) -> Array:
    """The output, computed on from another value of the layer."""
    known, net = {**values, layer: a}, Network(model)
    moved = {layer}
    for node, evaluate in zip(net.nodes, net.evaluations, strict=True):
        if moved & set(node.input) and layer not in node.output:
            known.update(zip(node.output, evaluate(known), strict=True))
            moved.update(node.output)
    return known["y"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_is_the_formula(row: Row) -> None:
    model = network(row.body, row.x, row.free, **row.constants)
    rng = np.random.default_rng(3)
    x = rng.standard_normal(row.x).astype(np.float32)
    y = Network(model).forward({"x": x})["y"]
    seed = rng.standard_normal(y.shape).astype(np.float32)
    compiled = lrp_onnx.compile(model, method="grad-cam", target="seed", layer=row.given)
    assert compiled.graph.metadata_props["lrp.layer"] == row.layer
    found = Explainer(compiled)(x, seed).relevance["x"]
    expected = oracle(row, model, x, seed)
    assert expected.max() > 0
    assert_close(found, expected)
    with pytest.raises(AssertionError, match="max"):
        assert_close(found, 1.01 * expected)
    evaluator = ReferenceEvaluator(compiled.model)
    by_reference = evaluator.run(["x_relevance"], {"x": x, "y_seed": seed})[0]
    assert_close(by_reference, expected)


def test_each_class_has_a_map_of_its_own() -> None:
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype(np.float32)
    several = Explainer(lrp_onnx.compile(picture_net(), method="grad-cam", target="top-3"))(x)
    one = Explainer(lrp_onnx.compile(picture_net(), method="grad-cam", target="input"))
    for k in range(3):
        classes = several.outputs["logits_topk_index"][:, k]
        assert_close(several.relevance["image"][:, k], one(x, classes).relevance["image"])


def test_a_node_is_its_output() -> None:
    by = [lrp_onnx.compile(picture_net(), method="grad-cam", layer=n) for n in ("relu", "h")]
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype(np.float32)
    assert by[0].graph.metadata_props["lrp.layer"] == "h"
    first, second = (Explainer(compiled)(x).relevance["image"] for compiled in by)
    assert_close(first, second)


def text_convolution() -> onnx.ModelProto:
    """Token ids, an embedding, a convolution over their places."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embed"),
        helper.make_node("Transpose", ["e"], ["c"], "channels", perm=[0, 2, 1]),
        helper.make_node("Conv", ["c", "w"], ["z"], "conv", pads=[1, 1]),
        helper.make_node("Relu", ["z"], ["r"], "relu"),
        helper.make_node("GlobalMaxPool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "v"], ["y"], "fc"),
    ]
    rng = np.random.default_rng(8)
    shapes = {"table": (20, 5), "w": (6, 5, 3), "v": (6, 2)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
               for n, s in shapes.items()]  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "text", [info("ids", 7, ["N", "T"])],
                              [info("y", 1, ["N", 2])], weights)  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_places_of_a_text() -> None:
    ids = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
    compiled = lrp_onnx.compile(text_convolution(), method="grad-cam", target=1)
    (found,) = Explainer(compiled)(ids).relevance.values()
    net = Network(text_convolution())
    z, v = net.forward({"ids": ids})["z"], net.constants["v"]
    winners = (z == z.max(2, keepdims=True)) & (z > 0)
    alpha = (winners * v[:, 1, None]).mean(2, keepdims=True)
    assert_close(found, np.maximum((alpha * z).sum(1), 0))


def test_double_precision() -> None:
    model = network(ROWS[0].body, ROWS[0].x, **ROWS[0].constants)
    x = np.random.default_rng(3).standard_normal(ROWS[0].x)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(float),
                                                tensor.name))  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    del model.graph.value_info[:]
    compiled = lrp_onnx.compile(model, method="grad-cam", target=1, check=False)
    (found,) = ReferenceEvaluator(compiled.model).run(["x_relevance"], {"x": x})
    assert found.dtype == np.float64
    assert_close(found, oracle(ROWS[0], model, x, np.eye(3)[[1, 1]]), 1e-6)  # resized in float32


DENSE = network("h = Gemm(x, w)\n t = Tanh(h)\n y = Gemm(t, v)", (3, 4), w=(4, 6), v=(6, 5))
PICTURE = network(ROWS[0].body, ROWS[0].x, **ROWS[0].constants)
POOLED = network("g = GlobalAveragePool(x)\n c = Conv(g, u)\n f = Flatten(c)\n y = Gemm(f, v)",
                 (2, 3, 5, 6), u=(5, 3, 1, 1), v=(5, 3))  # fmt: skip


@pytest.mark.parametrize(
    ("model", "request_", "fact"),
    [
        (DENSE, {}, "there is no convolution on the explanation path"),
        (DENSE, {"layer": "t"}, "no axis of layer 't' of shape .* continues one of input 'x'"),
        (POOLED, {}, "no convolution on the explanation path has several positions of input 'x'"),
        (PICTURE, {"layer": "nowhere"}, "tensor 'nowhere': the model has none"),
        (PICTURE, {"layer": "f"}, "no axis of layer 'f'"),
        (PICTURE, {"layer": "x"}, "does not lie between"),
        (PICTURE, {"steps": 3}, "steps: method 'grad-cam' takes none. Choose integrated-gradients"),
        (PICTURE, {"relevance_at": "z"}, "no tensor in between"),
        (PICTURE, {"conditions": "z"}, "no tensor in between"),
        (PICTURE, {"composite": "epsilon"}, "takes the plain gradient"),
        (PICTURE, {"method": "gradient", "layer": "z"}, "layer: method 'gradient' takes none"),
        (text_net(), {}, "there is no convolution"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_none(model: onnx.ModelProto, request_: dict[str, Any], fact: str) -> None:
    with pytest.raises(lrp_onnx.LrpError, match=fact):
        lrp_onnx.compile(model, **{"method": "grad-cam", **request_})


def test_a_folded_normalization_is_one_layer_with_its_convolution() -> None:
    body = "z = Conv(x, w)\n n = BatchNormalization(z, s, b, m, d)\n t = Relu(n)\n" + HEAD
    weights = {"w": (4, 3, 3, 3), "s": (4,), "b": (4,), "m": (4,), "d": np.ones(4), "v": (4, 3)}
    model = network(body, (2, 3, 5, 6), **weights)
    compiled = lrp_onnx.compile(model, method="grad-cam")
    assert compiled.graph.metadata_props["lrp.layer"] == "n"
    with pytest.raises(TargetError, match="Give tensor 'n'"):
        lrp_onnx.compile(model, method="grad-cam", layer="z")


@pytest.mark.parametrize("ending", ["png", "html", "npz"])
def test_explain(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(picture_net(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 1, 8, 8), np.float32))
    out = tmp_path / f"out.{ending}"
    outcome = run_command(capsys, "explain", tmp_path / "model.onnx", tmp_path / "x.npy", "-o", out,
                          "--method", "grad-cam", "--layer", "relu")  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    assert "argmax of logits, by grad-cam at h" in outcome.out
    if ending == "html":
        assert "features of the layer speak for the explained output" in out.read_text("utf-8")


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(picture_net(), tmp_path / "model.onnx")
    outcome = run_command(capsys, "verify", tmp_path / "model.onnx", "--method", "grad-cam")
    assert (outcome.status, outcome.err) == (0, "")
    assert "the forward is unchanged, everything is finite" in outcome.out


def test_the_patches_of_a_transformer_are_told():
    body = (
        "z = Conv<strides=[2]>(x, w)\n t = Transpose<perm=[0,2,1]>(z)\n q = MatMul(t, u)\n"
        "s = MatMul(q, z)\n a = Softmax<axis=-1>(s)\n m = MatMul(a, t)\n g = ReduceMean<keepdims=0>"
        "(m, one)\n y = Gemm(g, v)"
    )
    model = network(body, (2, 3, 8), w=(4, 3, 2), u=(4, 4), v=(4, 3), one=[1])
    (warning,) = lrp_onnx.compile(model, method="grad-cam").warnings
    assert (
        "behind the last convolution, 'z', attention mixes its positions in 2 products" in warning
    )
    assert not lrp_onnx.compile(model, method="grad-cam", layer="z").warnings
