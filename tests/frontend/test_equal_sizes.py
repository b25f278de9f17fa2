"""Sizes that only the run knows have one name where they are equal, and only there."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import network, normalized, run

import lrp_onnx

WEIGHTS = {
    "w": (2, 2, 3, 3),
    "v": (2, 2, 1, 1),
    "u": (2, 2, 4, 4),
    "one": np.ones((2, 1, 1), np.float32),
    "scales": np.array([1, 1, 2, 2], np.float32),
}
AROUND = "pads=[1,1,1,1]"
HALF = f"a = Conv<{AROUND}, strides=[2,2]>(x, w) "
POOL = "kernel_shape=[3,3], strides=[2,2]"
ROWS = {  # nodes, two tensors, whether their sizes are known to be equal
    "stride 1": (f"a = Conv<{AROUND}>(x, w)", "xa", True),
    "1x1": ("a = Conv(x, v)", "xa", True),
    "dilated": ("a = Conv<pads=[2,2,2,2], dilations=[2,2]>(x, w)", "xa", True),
    "same upper": ('a = Conv<auto_pad="SAME_UPPER">(x, u)', "xa", True),
    "padded on one side": ("a = Conv<pads=[0,0,3,3]>(x, u)", "xa", True),
    "maximum": (f"a = MaxPool<kernel_shape=[3,3], {AROUND}>(x)", "xa", True),
    "average": (f"a = AveragePool<kernel_shape=[3,3], {AROUND}>(x)", "xa", True),
    "transposed": (f"a = ConvTranspose<{AROUND}>(x, w)", "xa", True),
    "a branch": (f"b = Conv<{AROUND}>(x, w) a = Add(x, b)", "xa", True),
    "a constant": ("a = Mul(x, one)", "xa", True),
    "no padding": ("a = Conv(x, w)", "xa", False),
    "too much padding": ("a = Conv<pads=[2,2,2,2]>(x, w)", "xa", False),
    "stride 2": (HALF, "xa", False),
    "scaled": ("a = Resize(x, , scales)", "xa", False),
    "one window": (HALF + f"b = MaxPool<{POOL}, {AROUND}>(x) "
                   f"d = Conv<{AROUND}, strides=[2,2]>(x, w) c = Add(a, d)", "ac", True),
    "one scale": (HALF + "b = Resize(a, , scales) c = Resize(a, , scales)", "bc", True),
    "another padding": (HALF + "c = Conv<pads=[2,2,2,2], strides=[2,2]>(x, w)", "ac", False),
    "another rounding": (f"a = AveragePool<{POOL}>(x) c = AveragePool<{POOL}, ceil_mode=1>(x)",
                         "ac", False),
    "rounded up behind another padding": (
        "a = MaxPool<kernel_shape=[2,2], strides=[3,3], pads=[0,0,1,1], ceil_mode=1>(x) "
        "c = MaxPool<kernel_shape=[2,2], strides=[3,3], pads=[1,1,0,0], ceil_mode=1>(x)",
        "ac", False),
    "another operator": (HALF + "b = ConvTranspose<strides=[2,2]>(a, w) "
                         f"c = ConvTranspose<{AROUND}, strides=[2,2], output_padding=[1,1]>(a, w)",
                         "bc", False),
}  # fmt: skip
IDS, TEXTS = list(ROWS), [text for text, *_ in ROWS.values()]


def inferred(text: str) -> ir.Model:
    """The network with every tensor of it on the way to the output."""
    made = re.findall(r"(\w) = ", text)
    means = " ".join(f"m{name} = GlobalAveragePool({name})" for name in made)
    body = f"{text} {means} y = Sum({', '.join(f'm{name}' for name in made)})"
    used = {name: v for name, v in WEIGHTS.items() if f", {name})" in body}
    return normalized(ir.from_proto(network(body, (1, 2, 8, 8), symbolic=(0, 2, 3), **used)))


@pytest.mark.parametrize(("text", "pair", "equal"), ROWS.values(), ids=IDS)
def test_two_sizes_have_one_name(text: str, pair: str, equal: bool) -> None:
    graph = inferred(text).graph
    values = {v.name: v for v in (*graph.inputs, *(v for node in graph for v in node.outputs))}
    one, other = ([size.value for size in list(values[name].shape)[2:]] for name in pair)
    assert None not in (*one, *other)
    assert (one == other) is equal


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
@pytest.mark.parametrize("size", [(12, 12), (13, 9), (7, 16)])
def test_sizes_of_one_name_are_one_size(text: str, size: tuple[int, int]) -> None:
    model = ir.to_proto(inferred(text))
    known = {v.name for v in model.graph.output}
    model.graph.output.extend(v for v in model.graph.value_info if v.name not in known)
    x = np.random.default_rng(0).standard_normal((1, 2, *size)).astype(np.float32)
    arrays = run(model, {"x": x}) | {"x": x}
    bound: dict[str, int] = {}
    for value in (*model.graph.input, *model.graph.output):
        for told, real in zip(
            value.type.tensor_type.shape.dim, arrays[value.name].shape, strict=True
        ):
            if told.dim_param:
                assert bound.setdefault(told.dim_param, real) == real, value.name


KEPT = {
    "target": "r = Reshape(x, joined) y = Relu(r)",
    "two unknown": "s = Shape<start=0, end=2>(x) t = Concat<axis=0>(s, six) r = Reshape(x, t) "
    "y = Relu(r)",
    "behind a product": "r = Reshape(x, turned) m = MatMul(x, r) y = Relu(m)",
}


@pytest.mark.parametrize("name", KEPT)
def test_a_reshape_keeps_the_one_unknown_size(name: str) -> None:
    constants = {"joined": [-1, 12], "six": [6], "turned": [-1, 6, 2]}
    used = {k: np.array(v) for k, v in constants.items() if k in KEPT[name]}
    model = normalized(ir.from_proto(network(KEPT[name], (2, 2, 6), symbolic=(0,), **used)))
    assert model.graph.outputs[0].shape[0] == model.graph.inputs[0].shape[0]


def test_a_reshape_of_two_unknown_sizes_keeps_none() -> None:
    body = "r = Reshape(x, joined) y = Relu(r)"
    sizes = {"joined": np.array([-1, 6])}
    model = normalized(ir.from_proto(network(body, (2, 2, 6), symbolic=(0, 1), **sizes)))
    assert model.graph.outputs[0].shape[0] != model.graph.inputs[0].shape[0]


@pytest.mark.parametrize(("rows", "gone"), [("N", True), ("M", False)])
def test_expand_to_the_shape_that_is_there_is_nothing(rows: str, gone: bool) -> None:
    """Of another name the size may be 1, and relevance is summed over the copies."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]>'
        f"g (float[N,3] x, float[{rows},3] k) => (float[{rows},3] y) {{ s = Shape(k) t = Tanh(x)"
        " e = Expand(t, s) y = Mul(e, e) }"
    )
    view = normalized(ir.from_proto(model)).graph
    assert any(node.op_type == "Expand" for node in view) is not gone
    compiled = lrp_onnx.compile(
        model, "gradient", target="all", start="one", explain=["x"], check=False
    )
    x, k = np.float32([[1, -2, 0.5]]), np.zeros((1 if gone else 4, 3), np.float32)
    found = run(compiled.model, {"x": x, "k": k})["x_relevance"]
    slope = 2 * np.tanh(x) * (1 - np.tanh(x) ** 2)
    np.testing.assert_allclose(found, len(k) * slope, rtol=1e-5)


COUNTS = {
    "zero": 0, "one": 1, "first": [0], "second": [1], "two": [2], "all": [-1], "minus": [-1],
    "ones": [1, 1], "neither": [-1, -1], "number": (1, 1), "row": (1, 4), "table": (3, 512),
    "places": (1, 512),
}  # fmt: skip
SHAPE = "s = Shape(x)\n"
ASKED = {  # nodes, and of each axis of y the axis of x that has its size, or its size
    "expanded": (SHAPE + "y = Expand(number, s)", ["x0", "x1"]),
    "expanded where it is not -1": (
        "s = Shape<end=1>(x)\n t = Concat<axis=0>(s, minus)\n e = Equal(t, neither)\n"
        "q = Where(e, ones, t)\n y = Expand(row, q)", ["x0", 4]),
    "filled": (SHAPE + "y = ConstantOfShape(s)", ["x0", "x1"]),
    "counted": (SHAPE + "n = Gather(s, one)\n r = Range(zero, n, one)\n y = Cast<to=1>(r)",
                ["x1"]),
    "counted from 1": (SHAPE + "n = Gather(s, one)\n r = Range(one, n, one)\n y = Cast<to=1>(r)",
                       [None]),
    "beside a cut": ("n = Shape<start=1>(x)\n y = Slice(table, first, n, second)", [3, None]),
    "what is left": (
        "s = Shape<end=1>(x)\n q = Concat<axis=0>(s, second)\n r = Expand(row, q)\n"
        "t = Concat<axis=0>(s, minus, two)\n y = Reshape(r, t)", ["x0", 2, 2]),
    "added to as many of a table": (
        "n = Shape<start=1>(x)\n r = Slice(places, first, n, second)\n y = Add(x, r)",
        ["x0", "x1"]),
    "added to as many and one": (
        "n = Shape<start=1>(x)\n m = Add(n, second)\n r = Slice(places, second, m, second)\n"
        "y = Add(x, r)", ["x0", None]),
    "laid together and apart": (
        "f = Reshape(x, all)\n t = Tanh(f)\n s = Shape<end=1>(x)\n q = Concat<axis=0>(s, minus)\n"
        "y = Reshape(t, q)", ["x0", "x1"]),
    "resized to": (SHAPE + "r = Unsqueeze(table, first)\n f = Concat<axis=0>(second, s)\n"
                   'y = Resize<mode="linear">(r, , , f)', [1, "x0", "x1"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sizes"), ASKED.values(), ids=list(ASKED))
def test_a_size_that_is_asked_for_has_its_name(text: str, sizes: list[int | str | None]) -> None:
    read = set(re.findall(r"\w+", text))
    used = {name: value for name, value in COUNTS.items() if name in read}
    model = network(text, (2, 5), symbolic=(0, 1), **used)
    graph = normalized(ir.from_proto(model)).graph
    x, y = graph.inputs[0].shape, graph.outputs[0].shape
    known = {f"x{k}": size for k, size in enumerate(x)}
    true = run(model, {"x": np.zeros((7, 5), np.float32)})["y"].shape
    assert [s for s in sizes if s is not None] == [
        {7: "x0", 5: "x1"}.get(n, n) for n, s in zip(true, sizes, strict=True) if s is not None
    ]
    for size, expected in zip(y, sizes, strict=True):
        if expected is None:
            assert size not in known.values()
        else:
            assert size == known.get(expected, expected)
