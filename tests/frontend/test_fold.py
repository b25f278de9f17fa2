"""Constant folding: what is known becomes a constant, and nothing else changes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import assert_close, model_of, network, normalized, run
from onnx import helper

from lrp_onnx.frontend.normalize import infer_shapes
from lrp_onnx.frontend.normalize.fold import fold
from lrp_onnx.frontend.normalize.traced import LIMIT
from lrp_onnx.graph.model_file import load

LEGACY_PAD = """
    s = Shape(x)  h = Gather(s, two)  w = Gather(s, three)
    h1 = Sub(h, one)  h2 = Div(h1, stride)  h3 = Mul(h2, stride)  h4 = Add(h3, kernel)
    ph = Sub(h4, h)  w1 = Sub(w, one)  w2 = Div(w1, stride)  w3 = Mul(w2, stride)
    w4 = Add(w3, kernel)  pw = Sub(w4, w)
    uh = Unsqueeze(ph, zero)  uw = Unsqueeze(pw, zero)  both = Concat<axis=0>(zero, uw, zero, uh)
    more = ConstantOfShape<value=int64[1] {0}>(four)
    all = Concat<axis=0>(both, more)  pairs = Reshape(all, rows)
    back = Slice(pairs, last, first, zero, last)
    turned = Transpose<perm=[1, 0]>(back)  flat = Reshape(turned, last)
    pads = Cast<to=7>(flat)  p = Pad(x, pads)
    y = Conv<strides=[2, 2]>(p, k)
"""
NUMBERS = {"zero": [0], "one": 1, "two": 2, "three": 3, "stride": 2, "kernel": 3, "four": [4],
           "rows": [-1, 2], "last": [-1], "first": [-9]}  # fmt: skip
BATCH_FIRST = "s = Shape(x) n = Gather(s, a) u = Unsqueeze(n, b) t = Concat<axis=0>(u, m) "


class Row:
    """A network as text, its input, and the operators left behind normalization."""

    def __init__(
        self,
        name: str,
        body: str,
        x: tuple[int, ...],
        left: dict[str, int],
        symbolic: tuple[int, ...] = (0,),
        **constants: object,
    ) -> None:
        self.name, self.body, self.x, self.left = name, body, x, left
        self.symbolic, self.constants = symbolic, constants

    def __str__(self) -> str:
        return self.name

    def model(self) -> onnx.ModelProto:
        return network(self.body, self.x, self.symbolic, **self.constants)


ROWS = [
    Row("a dynamic Pad as torch writes it", LEGACY_PAD, (2, 3, 6, 7), {"Pad": 1, "Conv": 1},
        k=(4, 3, 3, 3), **NUMBERS),
    Row("flatten with the batch from Shape", BATCH_FIRST + "y = Reshape(x, t)",
        (2, 3, 4), {"Reshape": 1}, a=0, b=[0], m=[-1]),
    Row("flatten as tf2onnx writes it", "s = Shape(x) c = Cast<to=6>(s) f = Slice(c, b, e, b) "
        "j = Cast<to=6>(i) t = Concat<axis=0>(f, j) l = Cast<to=7>(t) y = Reshape(x, l)",
        (2, 3, 4), {"Reshape": 1}, b=[0], e=[1], i=[-1]),
    Row("a batch that moves", "p = Transpose<perm=[1, 0, 2]>(x) " + BATCH_FIRST +
        "y = Reshape(p, t)", (2, 3, 4), {"Transpose": 1, "Reshape": 1}, a=0, b=[0], m=[12]),
    Row("batch and rest unknown stay", "s = Shape(x) n = Gather(s, a) u = Unsqueeze(n, b) t = "
        "Concat<axis=0>(m, u) r = Relu(x) y = Reshape(r, t)", (2, 3, 4),
        {"Shape": 1, "Gather": 1, "Unsqueeze": 1, "Concat": 1, "Relu": 1, "Reshape": 1},
        a=0, b=[0], m=[-1]),
    Row("an unknown size in arithmetic stays", "s = Shape(x) n = Gather(s, a) d = Mul(n, m) "
        "t = Concat<axis=0>(d, l) y = Reshape(x, t)", (2, 3, 4),
        {"Shape": 1, "Gather": 1, "Mul": 1, "Concat": 1, "Reshape": 1}, a=[0], m=[3], l=[4]),
    Row("sizes alone", "s = Shape<start=1>(x) f = Cast<to=1>(s) m = ReduceProd(f) y = Div(x, m)",
        (2, 3, 4), {"Div": 1}),
    Row("small arithmetic", "a = Mul(c, c) b = Sqrt(a) d = Where(w, a, b) y = Add(x, d)",
        (2, 3), {"Add": 1}, c=[1.0, 2.0, 3.0], w=[True, False, True]),
    Row("several outputs", "a, b = Split<axis=0, num_outputs=2>(c) d = Add(x, a) y = Mul(d, b)",
        (2, 3), {"Add": 1, "Mul": 1}, c=(2, 3)),
    Row("a large weight, transposed", "w = Transpose<perm=[1, 0]>(c) y = MatMul(x, w)",
        (2, 40), {"MatMul": 1}, c=(50, 40)),
    Row("a large weight, squeezed and cast", "s = Squeeze(c, a) w = Cast<to=1>(s) y = MatMul(x, w)",
        (2, 40), {"MatMul": 1}, c=np.random.default_rng(0).standard_normal((1, 40, 50)), a=[0]),
    Row("a large weight that is read twice", "w = Transpose<perm=[1, 0]>(c) a = MatMul(x, w) "
        "b = MatMul(x, c) y = Add(a, b)", (2, 40), {"Transpose": 1, "MatMul": 2, "Add": 1},
        c=(40, 40)),
    Row("what would be large", "w = Expand(c, s) y = MatMul(x, w)",
        (2, 40), {"Expand": 1, "MatMul": 1}, c=[2.0], s=[40, 50]),
    Row("random numbers are not constants", "r = RandomUniform<shape=[3]>() z = Mul(r, n) "
        "y = Add(x, z)", (2, 3), {"RandomUniform": 1, "Mul": 1, "Add": 1}, n=0.0),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_folding(row: Row) -> None:
    model = row.model()
    result = normalized(load(model))
    assert dict(Counter(n.op_type for n in result.graph)) == row.left
    x = np.random.default_rng(1).standard_normal(row.x).astype(np.float32)
    assert_close(run(ir.to_proto(result), {"x": x})["y"], run(model, {"x": x})["y"])
    other = np.concatenate([x, x, x])  # another batch
    if row.symbolic and "Gather" not in row.left:
        expected = run(model, {"x": other})["y"]
        assert_close(run(ir.to_proto(result), {"x": other})["y"], expected)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_file_does_not_grow(row: Row) -> None:
    model = row.model()
    folded = ir.to_proto(normalized(load(model)))

    def size(m: onnx.ModelProto) -> int:
        return sum(len(t.raw_data) for t in m.graph.initializer)

    assert size(folded) <= size(model) + LIMIT


def test_a_cast_that_would_grow_the_file_stays() -> None:
    nodes = [
        helper.make_node("Cast", ["c"], ["w"], to=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    model = model_of(nodes, {"c": np.ones((40, 60), np.float16)}, {"x": (2, 40)})
    assert [n.op_type for n in normalized(load(model)).graph] == ["Cast", "MatMul"]


def test_shapes_behind_what_was_folded_are_known() -> None:
    result = normalized(load(ROWS[0].model()))
    (conv,) = (n for n in result.graph if n.op_type == "Conv")
    assert conv.outputs[0].shape is not None
    assert list(conv.outputs[0].shape)[1:] == [4, 3, 4]


def test_allowzero_target_becomes_constant() -> None:
    body = "s = Shape<end=1>(x) t = Concat<axis=0>(s, m) y = Reshape<allowzero=1>(x, t)"
    result = normalized(load(network(body, (2, 3, 4), (0,), m=[12])))
    (node,) = result.graph
    assert node.inputs[1] is not None
    assert node.inputs[1].const_value is not None
    assert node.inputs[1].const_value.numpy().tolist() == [0, 12]


def test_no_element_is_told_that_only_the_run_knows() -> None:
    """A size without a number never becomes a number, however it is moved."""
    body = "s = Shape(x) t = Slice(s, l, f, z, l) u = Gather(t, i) y = Cast<to=1>(u)"
    model = network(body, (2, 3, 4), (0,), l=[-1], f=[-9], z=[0], i=[2, 0, 1])
    result = normalized(load(model))
    for n in (1, 5):
        x = np.zeros((n, 3, 4), np.float32)
        assert run(ir.to_proto(result), {"x": x})["y"].tolist() == [n, 4, 3]


def test_what_the_reference_cannot_tell_is_left_to_the_runtime() -> None:
    """A Gather out of range fails where it is run, not where the model is compiled."""
    model = load(network("g = Gather(c, i) y = Add(x, g)", (2, 3), (), c=(4,), i=[2]))
    for value in model.graph.initializers.values():
        if value.name == "i":
            value.const_value = ir.tensor(np.array([9]), name="i")
    infer_shapes(model)
    assert not fold(model)
    assert [n.op_type for n in model.graph] == ["Gather", "Add"]


def test_output_that_is_constant_stays_computed() -> None:
    model = network("c = Add(a, a) y = Mul(x, c)", (2, 3), (), a=(3,))
    model.graph.output.append(helper.make_tensor_value_info("c", 1, [3]))
    result = normalized(load(model))
    assert [n.op_type for n in result.graph] == ["Add", "Mul"]
    x = np.ones((2, 3), np.float32)
    for name, value in run(model, {"x": x}).items():
        assert_close(run(ir.to_proto(result), {"x": x})[name], value)


IF = """<ir_version: 8, opset_import: ["" : 18]> g (float[N, 3, 1, 4] x) => (float[N, K, L] y)
<int64[1] axis = {2}, int64[1] one = {1}, float f = {2.0}> {
    s = Shape<start=2, end=3>(x)
    c = Equal(s, one)
    r = If(c) <
        then_branch = a () => (q) { t = Mul(x, f)  q = Squeeze(t, axis) },
        else_branch = b () => (q) { t = Relu(x)  q = Identity(t) }>
    y = Neg(r)
}"""


@pytest.mark.parametrize("last", ["y = Neg(r)", "y = Identity(r)", "y"])
@pytest.mark.parametrize("size", [1, 5])
def test_a_branch_that_is_always_taken_stands_in_its_place(size: int, last: str) -> None:
    text = IF.replace("3, 1, 4", f"3, {size}, 4")
    text = text.replace("float[N, K, L]", "float[N, K, L]" if size == 1 else "float[N, K, M, L]")
    text = text.replace("    y = Neg(r)\n", "") if last == "y" else text.replace("y = Neg(r)", last)
    text = text.replace("r = If", "y = If") if last == "y" else text
    result = normalized(load(onnx.parser.parse_model(text)))
    left = {n.op_type for n in result.graph} - {"Identity", "Neg"}
    assert left == ({"Mul", "Squeeze"} if size == 1 else {"Relu"})
    x = np.random.default_rng(2).standard_normal((2, 3, size, 4)).astype(np.float32)
    expected = 2 * x[:, :, 0] if size == 1 else np.maximum(x, 0)
    assert_close(run(ir.to_proto(result), {"x": x})["y"], -expected if "Neg" in last else expected)


def test_a_branch_that_the_run_chooses_stays() -> None:
    model = onnx.parser.parse_model(IF.replace("[N, 3, 1, 4]", "[N, 3, H, 4]"))
    assert "If" in {n.op_type for n in normalized(load(model)).graph}


def chain(length: int) -> tuple[list[onnx.NodeProto], Mapping[str, np.ndarray]]:
    """x + c·c, again and again, each product from a constant of its own."""
    nodes, constants, value = [], {}, "x"
    for k in range(length):
        out = "y" if k == length - 1 else f"v{k}"
        nodes.append(helper.make_node("Mul", [f"c{k}", f"c{k}"], [f"m{k}"], f"mul{k}"))
        nodes.append(helper.make_node("Add", [value, f"m{k}"], [out], f"add{k}"))
        constants[f"c{k}"] = np.float32(k / length)
        value = out
    return nodes, constants


def test_five_thousand_nodes_fold_in_seconds() -> None:
    nodes, constants = chain(2500)
    model = load(model_of(nodes, constants, {"x": (2,)}))
    infer_shapes(model)
    began = time.perf_counter()
    assert fold(model)
    assert time.perf_counter() - began < 6  # about one on a quiet machine
    assert Counter(n.op_type for n in model.graph) == {"Add": 2500}
