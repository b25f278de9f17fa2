"""Proven signs: each is searched for a counterexample on ONNX Runtime, and none is lost."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import model_of, session

from lrp_onnx.analysis.signs import bounds, signs
from lrp_onnx.ops import REGISTRY

SHAPE = (1, 4, 3, 3)
GIVEN = {
    "+": "{1} = Relu({0})",
    "-": "m{0} = Relu({0}) {1} = Neg(m{0})",
    "?": "{1} = Identity({0})",
}
SIGNS = {1: "+", -1: "-", 0: "?"}


class Row:
    """A node `… = Op(a, b, …)` and what is proven of its first output.

    `facts`: for each combination of the signs of a and b (+, - or ?) the sign of the result.
    """

    def __init__(self, node: str, facts: str, opset: int = 18, **constants: object) -> None:
        self.node = node if "=" in node.split("(")[0].split("<")[0] else f"y = {node}"
        self.facts = dict(fact.split(">") for fact in facts.split())
        self.opset, self.constants = opset, {k: np.array(v) for k, v in constants.items()}

    def __str__(self) -> str:
        given = [f"{k}={v.ravel()[:3].tolist()}" for k, v in self.constants.items()]
        return re.sub(r"\s", "", "-".join([self.node.split("=", 1)[1], *given]))

    def model(self, given: str) -> onnx.ModelProto:
        """The node behind tensors a and b of the `given` signs, made from x and z."""
        pairs = zip(given, ("xa", "zb"), strict=False)
        made = [GIVEN[sign].format(*names) for sign, names in pairs]
        body = " ".join([*made, self.node])
        nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
        return model_of(nodes, self.constants, {"x": SHAPE, "z": SHAPE}, (), self.opset)


def f32(*values: float) -> np.ndarray:
    return np.array(values[0] if len(values) == 1 else values, np.float32)


ALWAYS, KEPT = "+>+ ->+ ?>+", "+>+ ->- ?>?"
BELOW = "+>- ->- ?>-"
POSITIVE, NEVER = "+>+ ->? ?>?", "+>? ->? ?>?"
ALIKE = "++>+ -->- +->? ??>? ?+>?"
PAD = np.array([0, 0, 1, 1, 0, 0, 1, 1])
ROWS = [
    *[Row(f"{op}(a)", ALWAYS) for op in (
        "Relu", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Abs", "Sqrt", "Cosh", "Acos", "Acosh",
        "Softmax", "GlobalLpPool", "ReduceL1", "ReduceL2", "ReduceSumSquare")],
    Row("LpPool<kernel_shape=[2, 2], p=1>(a)", ALWAYS),
    *[Row(f"{op}(a)", KEPT) for op in (
        "Identity", "Dropout", "Flatten", "Transpose", "Squeeze", "GlobalMaxPool", "Round", "Sign",
        "GlobalAveragePool", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "Floor", "Ceil",
        "Celu", "HardSwish", "Mish", "Tanh", "Softsign", "Sinh", "Asinh", "Asin", "Atan", "Atanh",
        "Reciprocal", "ThresholdedRelu", "Trilu")],
    Row("Celu<alpha=0.3>(a)", KEPT),
    Row("Celu<alpha=-0.7>(a)", KEPT),
    Row("ThresholdedRelu<alpha=-0.5>(a)", KEPT),
    Row("Reshape(a, n)", KEPT, n=[4, 9]),
    Row("Unsqueeze(a, n)", KEPT, n=[0]),
    Row("Expand(a, n)", KEPT, n=[2, 4, 3, 3]),
    Row("Tile(a, n)", KEPT, n=[1, 2, 1, 1]),
    Row("Slice(a, n, m, n)", KEPT, n=[1], m=[3]),
    Row("q, y = Split<axis=1, num_outputs=2>(a)", KEPT),
    Row("Gather<axis=1>(a, n)", KEPT, n=[2, 0]),
    Row("GatherElements(a, n)", KEPT, n=np.zeros(SHAPE, np.int64)),
    Row("GatherND(a, n)", KEPT, n=[[0, 2]]),
    Row("DepthToSpace<blocksize=2>(a)", KEPT),
    Row("SpaceToDepth<blocksize=3>(a)", KEPT),
    Row("AveragePool<kernel_shape=[2, 2], pads=[1, 1, 1, 1]>(a)", KEPT),
    Row("MaxPool<kernel_shape=[2, 2], pads=[1, 1, 1, 1]>(a)", KEPT),
    Row("q, m = MaxPool<kernel_shape=[2, 2]>(a) y = Cast<to=1>(m)", NEVER),  # Indices
    Row("LRN<size=3>(a)", KEPT),
    Row("LRN<size=3, bias=-1.0, beta=1.0>(a)", NEVER),
    Row("Erf(a)", POSITIVE),
    Row("Gelu(a)", POSITIVE, opset=20),
    Row('Gelu<approximate="tanh">(a)', POSITIVE, opset=20),
    Row("ReduceProd(a)", POSITIVE),
    *[Row(f"{op}(a, b)", ALIKE) for op in ("Add", "Sum", "Mean", "Concat<axis=1>")],
    Row("Where(m, a, b)", ALIKE, m=np.eye(3) > 0),
    Row("Neg(a)", "+>- ->+ ?>?"),
    Row("Sub(a, b)", "+->+ -+>- ++>? +?>?"),
    *[Row(f"{op}(a, b)", "++>+ -->+ +->- ?+>? ??>?") for op in ("Mul", "Div")],
    Row("Mul(a, a)", ALWAYS),
    Row("Mul(a, c)", "+>- ->+ ?>?", c=f32(-2)),
    Row("Pow(a, c)", ALWAYS, c=f32(2)),
    Row("Pow(a, c)", ALWAYS, c=np.array([-2, 0, 4])),
    Row("Pow(a, c)", KEPT, c=f32(3)),
    Row("Pow(a, c)", KEPT, c=f32(-1)),
    Row("Pow(a, c)", POSITIVE, c=f32(1, 2, 3)),
    Row("Pow(a, c)", POSITIVE, c=f32(0.5)),
    Row("Pow(a, c)", POSITIVE, c=f32(np.inf)),
    Row("Pow(c, a)", ALWAYS, c=f32(2)),
    Row("Max(a, b)", "++>+ +->+ ?+>+ -->- ?->?"),
    Row("Min(a, b)", "++>+ +->- ?->- -->- ?+>?"),
    Row("Max(a, c)", ALWAYS, c=f32(0)),
    Row("Max(a, b, c)", "-->- +->+ ?->?", c=f32(-1)),
    Row("PRelu(a, c)", KEPT, c=f32(0.2)),
    Row("PRelu(a, c)", ALWAYS, c=f32(-0.2)),
    Row("PRelu(a, c)", POSITIVE, c=np.reshape(f32(0.1, 0.2, -0.3, 0), (4, 1, 1))),
    Row("LeakyRelu(a)", KEPT),
    Row("LeakyRelu<alpha=-0.5>(a)", ALWAYS),
    Row("Elu(a)", KEPT),
    Row("Elu<alpha=-0.5>(a)", ALWAYS),
    Row("Selu(a)", KEPT),
    Row("Selu<gamma=-0.5>(a)", NEVER),
    Row("Shrink(a)", KEPT),
    Row("Shrink<bias=0.3, lambd=0.3>(a)", KEPT),
    Row("Shrink<bias=-1.0>(a)", KEPT),
    Row("Shrink<bias=0.6>(a)", NEVER),
    Row("Shrink<lambd=-0.5, bias=-1.0>(a)", NEVER),
    Row("Clip(a)", KEPT),
    Row("Clip(a, c, d)", ALWAYS, c=f32(0), d=f32(6)),
    Row("Clip(a, c)", ALWAYS, c=f32(0)),
    Row("Clip(a, c, d)", KEPT, c=f32(-1), d=f32(1)),
    Row('Clip(a, "", d)', KEPT, d=f32(0.5)),
    Row('Clip(a, "", d)', "+>- ->- ?>-", d=f32(-1)),
    Row("Clip(a, c, d)", "+>- ->- ?>-", c=f32(0), d=f32(-1)),  # min > max: all are max
    Row("Pad(a, n)", KEPT, n=PAD),
    Row("Pad(a, n, c)", POSITIVE, n=PAD, c=f32(1)),
    Row('Pad<mode="reflect">(a, n, c)', KEPT, n=PAD, c=f32(1)),
    Row("q = Cast<to=11>(a) y = Cast<to=1>(q)", KEPT),
    Row("q = Cast<to=6>(a) y = Cast<to=1>(q)", NEVER),
    Row("q = IsNaN(a) y = Cast<to=1>(q)", ALWAYS),
    Row('Resize(a, "", c)', KEPT, c=f32(1, 1, 2, 1.5)),
    Row('Resize<mode="linear">(a, "", c)', KEPT, c=f32(1, 1, 2, 0.7)),
    Row("MaxUnpool<kernel_shape=[2, 2]>(a, n)", KEPT,
        n=np.random.default_rng(0).permutation(64)[:36].reshape(SHAPE)),
    Row("r = Reshape(a, l) y = Col2Im(r, n, m)", KEPT, l=[1, 4, 9], n=[4, 4], m=[2, 2]),
    *[Row(f'RoiAlign<mode="{mode}", output_height=2, output_width=3>(a, c, n)', KEPT,
          c=np.float32([[-1.0, 0.2, 2.5, 3.0], [0.5, -4.0, 1.5, 2.2]]), n=[0, 0])
      for mode in ("avg", "max")],
    Row("MaxRoiPool<pooled_shape=[2, 3]>(a, c)", KEPT,
        c=np.float32([[0.0, -1.0, 0.2, 2.5, 3.0], [0.0, 0.5, -4.0, 1.5, 2.2]])),
    *[Row(f'GridSample<mode="{mode}">(a, c)', facts, opset=20,
          c=np.random.default_rng(0).uniform(-1.3, 1.3, (1, 3, 3, 2)).astype(np.float32))
      for mode, facts in (("linear", KEPT), ("nearest", KEPT), ("cubic", NEVER))],
    Row("s = Sigmoid(a) y = Sub(one, s)", ALWAYS, one=f32(1)),
    Row("s = HardSigmoid(a) r = Flatten(s) y = Sub(r, one)", BELOW, one=f32(1)),
    Row("c = Clip(a, l, h) s = Add(c, h) y = Div(s, k)", ALWAYS, l=f32(-3), h=f32(3), k=f32(6)),
    Row("c = Clip(a, l, h) y = Sub(c, k)", BELOW, l=f32(-3), h=f32(3), k=f32(4)),
    Row("c = Clip(a, l, h) n = Neg(c) y = Add(n, h)", ALWAYS, l=f32(-3), h=f32(3)),
    Row("c = Clip(a, l, h) s = Abs(c) y = Sub(s, k)", BELOW, l=f32(-3), h=f32(2), k=f32(3)),
    Row("c = Clip(a, l) r = Relu(c) m = Min(r, k) y = Sub(m, k)", BELOW, l=f32(-3), k=f32(2)),
    Row("c = Clip(a, l, h) m = Max(c, k) y = Sub(m, k)", ALWAYS, l=f32(-3), h=f32(2), k=f32(1)),
    Row("c = Clip(a, l, h) m = Mul(c, d) y = Add(m, k)", ALWAYS, l=f32(-3), h=f32(3), d=f32(-0.5),
        k=f32(2)),
    # -3 · 1/3 may round below -1
    Row("c = Clip(a, l, h) m = Mul(c, d) y = Add(m, k)", POSITIVE, l=f32(-3), h=f32(3),
        d=f32(1 / 3), k=f32(1)),
    Row("s = Sigmoid(a) t = HardSigmoid(b) c = Concat<axis=1>(s, t) y = Sub(c, one)",
        "++>- -->- ??>-", one=f32(1)),
    Row("s = Sigmoid(a) t = HardSigmoid(b) w = Where(m, s, t) y = Sub(w, one)", "++>- ??>-",
        m=np.array([True, False, True]), one=f32(1)),
    Row("LpNormalization(a)", NEVER),
    Row('Resize<mode="cubic">(a, "", c)', NEVER, c=f32(1, 1, 2, 0.7)),
]  # fmt: skip


def samples() -> list[np.ndarray]:
    """Ordinary, tiny and huge numbers, with zeros of both signs."""
    rng = np.random.default_rng(0)
    found = [rng.standard_normal((2, *SHAPE)) * scale for scale in (0.3, 1, 1, 4, 1e4, 1e-20)]
    zeros = np.where(rng.random((2, *SHAPE)) < 0.5, 0.0, -0.0)
    mixed = np.where(rng.random((2, *SHAPE)) < 0.5, found[1], zeros)
    return [a.astype(np.float32) for a in (*found, zeros, mixed)]


def holds(sign: int, result: np.ndarray) -> bool:
    """Whether the numbers have the sign; not-a-number and divisions by zero are nobody's fact."""
    finite = result[np.isfinite(result)]
    return not sign or bool((sign * finite >= 0).all())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_facts_have_no_counterexample(row: Row) -> None:
    for given, expected in row.facts.items():
        model = row.model(given)
        known = signs(ir.from_proto(model).graph)
        proven = {value.name: sign for value, sign in known.items()}.get("y", 0)
        assert SIGNS[proven] == expected, f"given {given}"
        run = session(model)
        for x, z in samples():
            assert holds(proven, run({"x": x, "z": z})["y"]), f"given {given}"


def test_every_fact_has_a_row() -> None:
    rows = " ".join(row.node for row in ROWS)
    declared = [op.name for op in REGISTRY.values() if op.sign or op.range]
    assert [op for op in declared if not re.search(rf"\b{op}[(<]", rows)] == []


UNARY = ("Relu({0})", "Neg({0})", "Abs({0})", "Sigmoid({0})", "HardSigmoid({0})", "Clip({0}, l, h)")
BINARY = ("Add({0}, {1})", "Sub({0}, {1})", "Mul({0}, {1})", "Div({0}, {1})", "Max({0}, {1})",
          "Min({0}, {1})", "Where(m, {0}, {1})")  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("seed", range(40))
def test_every_tensor_lies_where_it_is_said_to(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.choice([-3, -1, -0.3, 0, 1e-3, 0.1, 1, 6], 2, replace=False))
    constants = {"l": low, "h": high, "k": rng.choice([0.1, 1 / 3, 3]), "j": rng.uniform(-2, 2, 3)}
    names, nodes = ["x", "z", "k", "j", "l"], []
    for step in range(12):
        form = rng.choice([*UNARY, *BINARY])
        nodes.append(f"t{step} = {form.format(*rng.choice(names[-6:], 2))}")
        names.append(f"t{step}")
    kind = {"float32": "float", "float16": "float16"}[dtype]
    body = " ".join(nodes)
    parsed = onnx.parser.parse_graph(f"g ({kind} x) => ({kind} t11) {{ {body} }}").node
    given = {name: np.array(v, dtype) for name, v in constants.items()}
    given["m"] = np.array([True, False, True])
    model = model_of(parsed, given, {"x": SHAPE, "z": SHAPE}, output="t11", dtype=np.dtype(dtype))
    del model.graph.output[:]
    model.graph.output.extend(v for v in model.graph.value_info)
    known = {value.name: lies for value, lies in bounds(ir.from_proto(model).graph).items()}
    run = session(model)
    for x, z in samples():
        with np.errstate(over="ignore"):
            found = run({"x": x.astype(dtype), "z": z.astype(dtype)})
        for name, result in found.items():
            low, high = known[name]
            finite = result[np.isfinite(result)].astype(np.float64)
            assert ((finite >= low) & (finite <= high)).all(), (name, nodes, low, high)


def test_search_refuses_a_wrong_fact() -> None:
    results = [np.abs(x) - 1e-30 for x, _ in samples()]
    assert not all(holds(1, result) for result in results)
    assert not all(holds(-1, result) for result in results)
    assert all(holds(0, result) for result in results)
