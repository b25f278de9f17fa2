"""Each rewrite: it happened, the forward is what it was; where it must not happen it did not."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from canonical import as_proto, assert_same_forward, canonized, counts
from models import Case, assert_close, network, run

import lrp_onnx


def positive(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(0.5, 2.0, shape).astype(np.float32)


def signed(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).standard_normal(shape).astype(np.float32)


class Row:
    """A network `x -> y` as text, its constants, and the operators expected behind canonization."""

    def __init__(
        self,
        body: str,
        x: tuple[int, ...],
        left: dict[str, int],
        symbolic: tuple[int, ...] = (0,),
        **constants: object,
    ) -> None:
        self.body, self.x, self.left, self.symbolic = body, x, left, symbolic
        self.constants = constants

    def __str__(self) -> str:
        return re.sub(r"\s+", "", self.body)[:110]

    def model(self) -> onnx.ModelProto:
        return network(self.body, self.x, self.symbolic, **self.constants)


IMAGE, CHANNELS_LAST = (2, 4, 5, 6), (2, 5, 6, 4)


W = {"w": (6, 4, 3, 3), "k": (4, 4, 1, 1)}


BN = {"g": positive(6), "s": signed(6), "m": signed(6), "v": positive(6)}


BN4 = {k: a[:4] for k, a in BN.items()}


PER_CHANNEL = {f"{k}3": a.reshape(6, 1, 1) for k, a in BN.items()}


LEADING_ONE = {f"{k}4": a.reshape(1, 6, 1, 1) for k, a in BN.items()}


LAST = {k: BN[k] for k in ("g", "s", "m", "v")}


CONV = "c = Conv<pads=[1, 1, 1, 1]>(x, w)"


BATCHNORM = "BatchNormalization<epsilon=0.01>({}, g, s, m, v)"


ONE_CONV = {"Conv": 1}


BEHIND = [
    Row(f"{CONV} y = {BATCHNORM.format('c')}", IMAGE, ONE_CONV, **W, **BN),
    Row(f"c = Conv(x, w, b) y = {BATCHNORM.format('c')}", IMAGE, ONE_CONV, b=(6,), **W, **BN),
    Row(f"{CONV} h = Mul(c, g3) y = Add(h, s3)", IMAGE, ONE_CONV, **W, **PER_CHANNEL),
    Row(f"{CONV} h = Mul(g4, c) y = Add(s4, h)", IMAGE, ONE_CONV, **W, **LEADING_ONE),
    Row(f"{CONV} d = Sub(c, m3) h = Mul(d, g3) y = Add(h, s3)",
        IMAGE, ONE_CONV, **W, **PER_CHANNEL),
    Row(f"{CONV} d = Sub(c, m3) q = Div(d, v3) h = Mul(q, g3) y = Add(h, s3)",
        IMAGE, ONE_CONV, **W, **PER_CHANNEL),
    Row(f"{CONV} d = Sub(m3, c) h = Neg(d) y = Sub(h, s3)", IMAGE, ONE_CONV, **W, **PER_CHANNEL),
    Row(f"{CONV} h = Mul(c, a) y = Add(h, t)", IMAGE, ONE_CONV, a=2.0, t=[0.5], **W),
    Row(f"{CONV} y = Add(c, s3)", IMAGE, ONE_CONV, **W, **PER_CHANNEL),  # a bias spelled Add
    Row(f"{CONV} n = {BATCHNORM.format('c')} u = Unsqueeze(g, axes) h = Mul(n, u) y = Add(h, s3)",
        IMAGE, ONE_CONV, axes=[1, 2], **W, **BN, s3=PER_CHANNEL["s3"]),  # light_* models
    Row(f"{CONV} n = {BATCHNORM.format('c')} r = Relu(n) d = Conv(r, q) y = BatchNormalization"
        "(d, g, s, m, v)", IMAGE, {"Conv": 2, "Relu": 1}, q=(6, 6, 3, 3), **W, **BN),
    Row(f"c = Conv<group=2>(x, w) y = {BATCHNORM.format('c')}",
        IMAGE, ONE_CONV, w=(6, 2, 3, 3), **BN),
    Row(f"c = Conv<group=4>(x, w) y = {BATCHNORM.format('c')}",
        IMAGE, ONE_CONV, w=(4, 1, 3, 3), **BN4),  # depthwise
    Row(f"c = Conv(x, w) y = {BATCHNORM.format('c')}", (2, 4, 7), ONE_CONV, w=(6, 4, 3), **BN),
    Row(f"c = ConvTranspose<strides=[2, 2]>(x, w) y = {BATCHNORM.format('c')}",
        IMAGE, {"ConvTranspose": 1}, w=(4, 6, 3, 3), **BN),
    Row(f"c = ConvTranspose<group=2>(x, w, b) y = {BATCHNORM.format('c')}",
        IMAGE, {"ConvTranspose": 1}, w=(4, 3, 3, 3), b=(6,), **BN),
    Row(f"c = Gemm<transB=1>(x, w, b) y = {BATCHNORM.format('c')}",
        (2, 4), {"Gemm": 1}, w=(6, 4), b=(6,), **BN),
    Row(f"c = Gemm(x, w) y = {BATCHNORM.format('c')}", (2, 4), {"Gemm": 1}, w=(4, 6), **BN),
    Row(f"c = MatMul(x, w) a = Add(b, c) y = {BATCHNORM.format('a')}",
        (2, 4), {"Gemm": 1}, w=(4, 6), b=(6,), **BN),
    Row("c = MatMul(x, w) h = Mul(c, g) y = Add(h, s)",
        (2, 3, 4), {"MatMulAdd": 1}, w=(4, 6), **LAST),
    Row("c = MatMul(x, w) y = Mul(c, g)", (2, 3, 4), {"MatMul": 1}, w=(4, 6), **LAST),
    Row("c = MatMul(w, x) h = Mul(c, g) y = Sub(h, s)",
        (2, 4, 3), {"MatMulAdd": 1}, w=(6, 4), g=BN["g"][:, None], s=BN["s"][:, None]),
    Row("c = Gemm<transA=1>(w, x) h = Mul(c, g) y = Add(h, s)",
        (4, 3), {"Gemm": 1}, (), w=(4, 6), g=BN["g"][:, None], s=BN["s"][:, None]),
    Row("c = MatMul(x, w) h = Mul(c, g) y = Add(h, s)",
        (2, 3, 4), {"MatMulAdd": 1}, w=(2, 4, 6), **LAST),  # a batch of weights
    Row("t = Transpose<perm=[0, 3, 1, 2]>(x) c = Conv(t, w) l = Transpose<perm=[0, 2, 3, 1]>(c) "
        "d = Sub(l, m) h = Mul(d, g) n = Add(h, s) y = Relu(n)",
        CHANNELS_LAST, {"Transpose": 2, "Conv": 1, "Relu": 1}, **W, **LAST),  # tf2onnx, Keras
    Row("c = Conv(x, w) h = Mul(c, g3) l = Transpose<perm=[0, 2, 3, 1]>(h) y = Add(l, s)",
        IMAGE, {"Transpose": 1, "Conv": 1}, **W, g3=PER_CHANNEL["g3"], **LAST),
    Row("u = Unsqueeze(x, a) c = Conv(u, w) q = Squeeze(c, a) h = Mul(q, g) y = Add(h, s)",
        (2, 4, 7), {"Unsqueeze": 1, "Conv": 1, "Squeeze": 1}, a=[2], w=(6, 4, 1, 3),
        g=BN["g"][:, None], s=BN["s"][:, None]),  # tf2onnx writes Conv1D so
    Row("f = Reshape(x, rows) c = MatMul(f, w) l = Reshape(c, whole) y = Add(l, s)",
        (2, 3, 4), {"Reshape": 2, "MatMulAdd": 1}, rows=[-1, 4], whole=[-1, 3, 6], w=(4, 6),
        **LAST),  # tf2onnx writes Dense on sequences so
]  # fmt: skip


BEFORE = [
    Row(f"n = {BATCHNORM.format('x')} y = Conv(n, w)", IMAGE, ONE_CONV, **W, **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = Conv(n, w, b)", IMAGE, ONE_CONV, b=(6,), **W, **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = Conv<group=2>(n, w)",
        IMAGE, ONE_CONV, w=(6, 2, 3, 3), **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = Conv<group=4>(n, w)",
        IMAGE, ONE_CONV, w=(8, 1, 3, 3), **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = Conv<pads=[1, 1, 1, 1]>(n, w)",
        IMAGE, ONE_CONV, **W, g=BN4["g"], v=BN4["v"], s=np.zeros(4, np.float32),
        m=np.zeros(4, np.float32)),  # no shift: zero padding stays zero
    Row(f"n = {BATCHNORM.format('x')} y = ConvTranspose<group=2>(n, w)", IMAGE,
        {"ConvTranspose": 1}, w=(4, 3, 3, 3), g=BN4["g"], v=BN4["v"], s=np.zeros(4, np.float32),
        m=np.zeros(4, np.float32)),
    Row("h = Mul(x, g) n = Add(h, s) y = Conv(n, w)",
        IMAGE, ONE_CONV, g=positive(4, 1, 1), s=signed(4, 1, 1), **W),
    Row("r = Relu(x) d = Sub(r, s) h = Mul(d, g) y = Conv(h, w)",
        IMAGE, {"Relu": 1, "Conv": 1}, g=positive(4, 1, 1), s=signed(4, 1, 1), w=W["w"]),
    Row("d = Sub(x, s) h = Mul(d, g) n = Add(h, s) y = Conv(n, w)",
        IMAGE, ONE_CONV, g=positive(4, 1, 1), s=signed(4, 1, 1), **W),
    Row("h = Mul(x, g) n = Add(h, s) t = Transpose<perm=[0, 3, 1, 2]>(n) y = Conv(t, w)",
        CHANNELS_LAST, {"Transpose": 1, "Conv": 1}, g=positive(4), s=signed(4), **W),
    Row(f"n = {BATCHNORM.format('x')} y = Gemm<transB=1>(n, w, b)",
        (2, 4), {"Gemm": 1}, w=(6, 4), b=(6,), **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = Gemm<transB=1>(w, n)",
        (6, 4), {"Gemm": 1}, (), w=(3, 4), **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = Gemm(n, w)", (2, 4), {"Gemm": 1}, w=(4, 6), **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = MatMul(n, w)", (2, 4), {"Gemm": 1}, w=(4, 6), **BN4),
    Row("h = Mul(x, g) n = Add(h, s) y = MatMul(n, w)",
        (2, 3, 4), {"MatMulAdd": 1}, w=(4, 6), g=positive(4), s=signed(4)),
    Row("h = Mul(x, g) n = Add(h, s) y = MatMul(n, w)",
        (2, 3, 4), {"MatMulAdd": 1}, w=(2, 4, 6), g=positive(4), s=signed(4)),
    Row("h = Mul(x, g) n = Add(h, s) y = MatMul(w, n)",
        (2, 4, 3), {"MatMulAdd": 1}, w=(6, 4), g=positive(4, 1), s=signed(4, 1)),
    Row("e = Sigmoid(x) q = Mul(x, e) h = Mul(q, g) n = Add(h, s) y = Conv(n, w)",  # behind a SiLU
        IMAGE, {"Sigmoid": 1, "Mul": 1, "Conv": 1}, g=positive(4, 1, 1), s=signed(4, 1, 1), **W),
]  # fmt: skip


STAY = [
    Row(f"n = {BATCHNORM.format('x')} y = Gemm(w, n)",  # sums over rows, not over channels
        (6, 4), {"BatchNormalization": 1, "Gemm": 1}, (), w=(3, 6), **BN4),
    Row(f"{CONV} n = {BATCHNORM.format('c')} y = Add(n, c)",
        IMAGE, {"Conv": 1, "BatchNormalization": 1, "Add": 1}, **W, **BN),  # read elsewhere
    Row(f"{CONV} r = Relu(c) y = {BATCHNORM.format('r')}",
        IMAGE, {"Conv": 1, "Relu": 1, "BatchNormalization": 1}, **W, **BN),
    Row(f"{CONV} y = Add(c, p)", IMAGE, {"Conv": 1, "Add": 1}, p=(1, 6, 5, 6), **W),  # positions
    Row(f"{CONV} y = Mul(c, p)", IMAGE, {"Conv": 1, "Mul": 1}, p=(5, 6), **W),
    Row(f"{CONV} y = Add(c, p)", IMAGE, {"Conv": 1, "Add": 1}, (), p=(2, 1, 1, 1), **W),
    Row(f"{CONV} y = Div(p, c)", IMAGE, {"Conv": 1, "Div": 1}, p=1.0, **W),
    Row("c = Conv(x, w) y = Add(c, p)", (2, 4, 5, 8), {"Conv": 1, "Add": 1}, p=(6,), **W),
    Row(f"n = {BATCHNORM.format('x')} y = Conv<pads=[1, 1, 1, 1]>(n, w)",
        IMAGE, {"BatchNormalization": 1, "Conv": 1}, **W, **BN4),  # 0 is not 0 behind the shift
    Row(f"n = {BATCHNORM.format('x')} y = Conv<auto_pad=\"SAME_UPPER\">(n, w)",
        IMAGE, {"BatchNormalization": 1, "Conv": 1}, **W, **BN4),
    Row(f"n = {BATCHNORM.format('x')} y = ConvTranspose(n, w)",
        IMAGE, {"BatchNormalization": 1, "ConvTranspose": 1}, w=(4, 6, 3, 3), **BN4),
    Row(f"n = {BATCHNORM.format('x')} a = Conv(n, k) b = Relu(n) y = Add(a, b)",
        IMAGE, {"BatchNormalization": 1, "Conv": 1, "Relu": 1, "Add": 1}, **W, **BN4),
    Row("d = Sub(x, s) n = Div(d, g) y = Conv(n, w)",  # a model's own preprocessing
        IMAGE, {"Sub": 1, "Div": 1, "Conv": 1}, g=positive(4, 1, 1), s=signed(4, 1, 1), **W),
    Row("a = ReduceMean<keepdims=1>(x, last) q = Div(x, a) h = Mul(q, g) n = Add(h, s) "
        "y = MatMul(n, w)", (2, 3, 4),  # a LayerNorm's own scale and shift
        {"ReduceMean": 1, "Div": 1, "Mul": 1, "Add": 1, "MatMul": 1},
        last=[2], w=(4, 6), g=positive(4), s=signed(4)),
    Row("a = ReduceMean<keepdims=1>(x, last) i = Reciprocal(a) q = Mul(x, i) h = Mul(q, g) "
        "n = Add(h, s) y = MatMul(n, w)", (2, 3, 4),
        {"ReduceMean": 1, "Reciprocal": 1, "Mul": 2, "Add": 1, "MatMul": 1},
        last=[2], w=(4, 6), g=positive(4), s=signed(4)),
    Row("c = MatMul(x, w) y = Add(c, p)", (2, 3, 4), {"MatMul": 1, "Add": 1}, p=(3, 6), w=(4, 6)),
    Row("t = Transpose<perm=[0, 2, 1]>(x) c = MatMul(x, t) y = Add(c, p)",
        (2, 3, 4), {"Transpose": 1, "MatMul": 1, "Add": 1}, p=(3,)),  # attention with a mask
]  # fmt: skip


SPELLING = [
    Row("c = Gemm(x, w) n = Neg(c) e = Exp(n) p = Add(e, one) y = Reciprocal(p)",
        (2, 4), {"Gemm": 1, "Sigmoid": 1}, w=(4, 6), one=1.0),
    Row("y = Sum(x, a, x, a)", (2, 3), {"Add": 3}, a=(2, 3)),
    Row("r = Relu(x) s = Sum(r) q = Max(s) c = Concat<axis=1>(q) y = Neg(c)",
        (2, 3), {"Relu": 1, "Neg": 1}),
    Row("r = Relu(x) y = Sum(r)", (2, 3), {"Relu": 1}),
    Row("y = Sum(x)", (2, 3), {"Identity": 1}),
    Row("y = Gemm<alpha=0.5, beta=3.0>(x, w, b)", (2, 4), {"Gemm": 1}, w=(4, 6), b=(6,)),
    Row("y = Gemm<alpha=0.5, beta=0.0>(x, w, b)", (2, 4), {"Gemm": 1}, w=(4, 6), b=(6,)),
    Row("y = Gemm<alpha=0.5, beta=2.0>(x, w, x)", (2, 4), {"Gemm": 1, "Mul": 1, "Add": 1},
        w=(4, 4)),  # the bias depends on the input
    Row("r = Relu(x) y = Gemm<alpha=0.5>(x, r)", (4, 4), {"Relu": 1, "Mul": 1, "Gemm": 1}, ()),
    Row("p = Pad(x, a) y = Conv<pads=[1, 0, 0, 2]>(p, w)",
        IMAGE, ONE_CONV, a=[0, 0, 1, 0, 0, 0, 2, 3], **W),
    Row("p = Pad(x, a, zero) t = Transpose<perm=[0, 3, 1, 2]>(p) y = Conv<strides=[2, 2]>(t, w)",
        CHANNELS_LAST, {"Transpose": 1, "Conv": 1}, a=[0, 1, 0, 0, 0, 2, 3, 0], zero=0.0, **W),
    Row("p = Pad(x, a, zero) y = Conv(p, w)",
        IMAGE, {"Pad": 1, "Conv": 1}, a=[0, 0, 1, 1, 0, 0, 1, 1], zero=0.5, **W),
    Row("p = Pad<mode=\"reflect\">(x, a) y = Conv(p, w)",
        IMAGE, {"Pad": 1, "Conv": 1}, a=[0, 0, 1, 1, 0, 0, 1, 1], **W),
    Row("p = Pad(x, a) y = Conv(p, w)",
        (2, 3, 5, 5), {"Pad": 1, "Conv": 1}, a=[0, 0, 1, 1, 0, 1, 1, 1], **W),  # adds a channel
    Row("p = Pad(x, a) c = Conv(p, w) d = Conv(p, w) y = Max(c, d)",
        IMAGE, {"Pad": 1, "Conv": 2, "Max": 1}, a=[0, 0, 1, 1, 0, 0, 1, 1], **W),
]  # fmt: skip


ROWS = [
    pytest.param(row, id=f"{kind}-{row}")
    for kind, rows in (
        ("behind", BEHIND), ("before", BEFORE), ("stays", STAY), ("spelling", SPELLING)
    )
    for row in rows
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_rewrite(row: Row) -> None:
    model = row.model()
    result = canonized(model)
    assert counts(result) == row.left
    assert not any(n.op_type == "Gemm" and {"alpha", "beta"} & set(n.attributes)
                   for n in result.graph)  # fmt: skip
    assert_same_forward(model, as_proto(result), {"x": row.x})


def test_empty_bias_is_dropped() -> None:
    model = Case("Conv", x=(1, 2, 4), w=(3, 2, 2)).model()
    model.graph.node[0].input.append("")
    (node,) = canonized(model).graph
    assert len(node.inputs) == 2


def test_graph_output_in_the_middle_stays() -> None:
    row = Row(f"{CONV} y = {BATCHNORM.format('c')}", IMAGE, {}, **W, **BN)
    model = row.model()
    model.graph.output.append(onnx.helper.make_tensor_value_info("c", 1, None))
    model = onnx.shape_inference.infer_shapes(model)
    result = canonized(model)
    assert counts(result) == {"Conv": 1, "BatchNormalization": 1}
    assert_same_forward(model, as_proto(result), {"x": IMAGE})


def test_training_mode_stays() -> None:
    text = "c = Conv(x, w) y, m2, v2 = BatchNormalization<training_mode=1>(c, g, s, m, v)"
    model = network(text, IMAGE, **W, **BN)
    assert counts(canonized(model)) == {"Conv": 1, "BatchNormalization": 1}


def test_names_survive() -> None:
    """The last tensor's name is kept; the others lead to it, and relevance can be asked for."""
    text = (f"{CONV} d = Sub(c, m3) h = Mul(d, g3) n = Add(h, s3) r = Relu(n) "
            "f = Flatten(r) p = MatMul(f, u) y = Add(p, b)")  # fmt: skip
    model = network(text, IMAGE, **W, **PER_CHANNEL, u=(180, 3), b=(3,))
    result = canonized(model)
    names = {v.name for node in result.graph for v in node.outputs}
    assert names == {"n", "r", "f", "y"}
    compiled = lrp_onnx.compile(model, relevance_at=["c", "h", "n", "p"], check=False)
    found = run(onnx.ModelProto.FromString(compiled.model.SerializeToString()),
                {"x": signed(*IMAGE)})  # fmt: skip
    for name in ("c", "h"):
        assert np.array_equal(found[f"{name}_relevance"], found["n_relevance"])


def test_relevance_is_that_of_the_folded_network() -> None:
    """A spelled BatchNorm and the same network folded by hand have the same relevance."""
    text = f"{CONV} h = Mul(c, g3) n = Add(h, s3) r = Relu(n) f = Flatten(r) y = MatMul(f, u)"
    constants = {"w": signed(6, 4, 3, 3), "u": signed(180, 3)}
    spelled = network(text, IMAGE, **constants, **PER_CHANNEL)
    weight = constants["w"] * PER_CHANNEL["g3"][..., None]
    folded = network("n = Conv<pads=[1, 1, 1, 1]>(x, w, b) r = Relu(n) f = Flatten(r) "
                     "y = MatMul(f, u)", IMAGE, w=weight, b=BN["s"], u=constants["u"])  # fmt: skip
    found = []
    for model in (spelled, folded):
        compiled = lrp_onnx.compile(model, composite="epsilon", check=False).model
        found.append(run(compiled, {"x": signed(*IMAGE)})["x_relevance"])
    assert_close(found[0], found[1], 2e-5)  # the ratio R/z amplifies the weights' rounding


def test_wrong_forward_is_noticed() -> None:
    """The helper fails where a weight is 1.01 times what it should be."""
    row = Row(f"{CONV} y = {BATCHNORM.format('c')}", IMAGE, {}, **W, **BN)
    result = canonized(row.model())
    weight = next(v for v in result.graph.initializers.values() if len(v.shape or ()) == 4)
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.01), name=weight.name)
    with pytest.raises(AssertionError, match="max"):
        assert_same_forward(row.model(), as_proto(result), {"x": IMAGE})
