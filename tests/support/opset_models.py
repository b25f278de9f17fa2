"""Models of one standard operator at one opset, brought to the opsets of compiled models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, defs, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import common

from lrp_onnx.frontend.opset import CEILING, FLOOR, OLDEST
from lrp_onnx.frontend.opset.convert import convert

Array = np.ndarray
TOLERANCE = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-12}  # of the largest value
ORT_NEWEST = 26  # ONNX Runtime 1.31 refuses later opsets; there the reference evaluator judges


class Row:
    """One node: operator, the opsets it is tried at, attributes, inputs.

    A tuple is a random float32 input of that shape, "" an absent one, a list or number a
    constant (ints become int64, floats float32), an array of any type an input. `open` leaves
    input shapes unknown.
    """

    def __init__(
        self,
        op: str,
        opsets: Sequence[int],
        *inputs: object,
        outputs: int = 1,
        open: bool = False,
        judge: str = "ort",
        **attributes: object,
    ) -> None:
        self.op, self.opsets, self.inputs = op, opsets, inputs
        self.outputs, self.open, self.judge, self.attributes = outputs, open, judge, attributes

    def __str__(self) -> str:
        parts = [self.op, *(f"{i.dtype}{i.shape}" if isinstance(i, (np.ndarray, np.generic)) else
                            str(i) for i in self.inputs)]  # fmt: skip
        parts += [f"{k}={v}" for k, v in self.attributes.items()]
        return "-".join(parts + ["open"] * self.open).replace(" ", "")

    def model(self, opset: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
        rng = np.random.default_rng(sum(map(ord, str(self))))
        feeds, constants, names = {}, [], []
        for position, given in enumerate(self.inputs):
            name = "" if isinstance(given, str) else f"i{position}"
            names.append(name)
            if isinstance(given, (list, int, float)):
                constants.append(numpy_helper.from_array(literal(given), name))
            elif isinstance(given, tuple):
                feeds[name] = rng.standard_normal(given).astype(np.float32)
            elif name:
                feeds[name] = np.asarray(given)
        results = [f"o{k}" for k in range(self.outputs)]
        node = helper.make_node(self.op, names, results, "the/node", **self.attributes)
        return graph_of([node], feeds, results, opset, constants, self.open, self.judge), feeds


def literal(value: list | float) -> Array:
    array = np.array(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, Array],
    results: Sequence[str],
    opset: int,
    constants: Sequence[TensorProto] = (),
    open: bool = False,
    judge: str = "ort",
) -> onnx.ModelProto:
    """A model of these nodes whose outputs have the types they turn out to have."""
    inputs = [
        helper.make_tensor_value_info(
            k, helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.ndim if open else v.shape
        )
        for k, v in feeds.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in results]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    for value, array in zip(graph.output, run(model, feeds, judge), strict=True):
        element_type = helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype)
        value.type.CopyFrom(helper.make_tensor_type_proto(element_type, [None] * np.ndim(array)))
    model.graph.CopyFrom(graph)
    return model


def run(model: onnx.ModelProto, feeds: Mapping[str, Array], judge: str = "ort") -> list[Array]:
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    if judge == "reference" or opset > ORT_NEWEST:
        return ReferenceEvaluator(model).run(None, dict(feeds))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))


def agree(got: Sequence[Array], want: Sequence[Array]) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
        else:
            scale = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
            np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[a.dtype.name] * scale)


def converted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model after conversion, constants as initializers, shapes as it declares them: what was
    inferred at the old opset is inferred again, as `normalize` does.
    """
    model = ir.serde.deserialize_model(proto)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    declared = {value.name: value.shape for value in model.graph.outputs}
    convert(model)
    for value in (v for node in model.graph for v in node.outputs):
        value.shape = declared.get(value.name)
    return ir.serde.serialize_model(model)


def check(
    model: onnx.ModelProto, feeds: Mapping[str, Array], judge: str = "ort"
) -> onnx.ModelProto:
    """Old and converted model agree; the converted one is valid at its opset."""
    brought = converted(model)
    opset = brought.opset_import[0].version
    assert opset == (FLOOR if model.opset_import[0].version < FLOOR else CEILING)
    full = brought.graph.node[0].op_type != "MeanVarianceNormalization"  # onnx cannot infer it
    onnx.checker.check_model(brought, full_check=full)
    assert [v.name for v in brought.graph.output] == [v.name for v in model.graph.output]
    want = run(model, feeds, judge)
    agree(run(brought, feeds, judge), want)
    return brought


X = (2, 3, 4, 5)
IMAGE = (1, 2, 6, 7)
HALVES = np.linspace(-3, 3, 24).reshape(2, 3, 4).astype(np.float16)
FLOATS = np.linspace(-4, 4, 24, dtype=np.float32).reshape(2, 3, 4)
DOUBLES = np.linspace(-3, 3, 24).reshape(2, 3, 4)
BYTES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
TRUTH = np.arange(12).reshape(3, 4) % 3 == 0
BEFORE_11, BEFORE_12, BEFORE_13, BEFORE_18 = (
    (7, 9, 10),
    (7, 10, 11),
    (7, 9, 11, 12),
    (7, 11, 13, 17),
)
POOL = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}


def cases(rows: Sequence[Row]) -> list[object]:
    return [pytest.param(r, o, id=f"{o}-{r}"[:100]) for r in rows for o in r.opsets]


IF = """agraph (bool c, float[2,3,4] x) => (float[2,3,4] y) {
  y = If (c) <then_branch = t () => (float[2,3,4] a) { a = %s (x) },
              else_branch = e () => (float[2,3,4] b) { b = %s (x) }> }"""
LOOP = """agraph (float[2,3,4] x) => (float[2,3,4] y, float[3,2,3,4] all)
  <int64 n = {3}, bool go = {1}> {
  y, all = Loop (n, go, x) <body = step (int64 i, bool more, float[2,3,4] s)
    => (bool still, float[2,3,4] t, float[2,3,4] u) {
      still = Identity (more) t = %s (s) u = Neg (s) }>
}"""
SCAN = """agraph (float[2,4] x) => (float[4] y, float[2,4] all) <float[4] zero = {0,0,0,0}> {
  y, all = Scan <num_scan_inputs = 1, body = step (float[4] s, float[4] part)
    => (float[4] t, float[4] u) { a = %s (part) t = Add (s, a) u = Neg (t) }> (zero, x)
}"""
OPTIONAL = """agraph (float[2,3,4] x) => (bool known, float[2,3,4] y) {
  o = Optional (x) known = OptionalHasElement (o) y = OptionalGetElement (o) }"""
SEQUENCE_OF = """agraph (float[2,3,4] x) => (float[1,3,4] y) <int64 at = {1}> {
  parts = SplitToSequence (x) y = SequenceAt (parts, at) }"""
OLD, NEW = ("Softmax <axis = 1>", "Clip <min = -0.5, max = 0.5>"), ("Swish <alpha = 2.0>", "Swish")

TEXTS = [
    *[(opset, IF % OLD, value) for opset in (7, 10) for value in (True, False)],
    *[(opset, IF % ("Relu", "Softmax <axis = 1>"), False) for opset in (7, 10, 11, 12, 13, 15)],
    *[(opset, IF % NEW, value) for opset in (24, 25, 26) for value in (True, False)],
    *[(opset, LOOP % OLD[0], None) for opset in (7, 10, 11, 12, 13, 15)],
    *[(opset, LOOP % "Elu", None) for opset in (22, 23)],
    *[(opset, LOOP % NEW[0], None) for opset in (24, 25)],
    *[(opset, SCAN % "Softmax <axis = 0>", None) for opset in (9, 10, 11, 12, 13, 15)],
    *[(opset, SCAN % "Elu", None) for opset in (22, 23)],
    *[(opset, SCAN % NEW[0], None) for opset in (24, 25)],
    (15, OPTIONAL, None),
    (17, OPTIONAL, None),
    (26, SEQUENCE_OF, None),
]


def text_model(opset: int, text: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')


IN_TEXTS = {(node.op_type, o) for o, t, _ in TEXTS for node in text_model(o, t).graph.node}


def changed_between(low: int, high: int) -> list[tuple[str, int]]:
    """Every (operator, version) of the standard domain with an older version, in (low, high]."""
    versions: dict[str, list[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if not schema.domain:
            versions.setdefault(schema.name, []).append(schema.since_version)
    return [
        (op, new)
        for op, known in sorted(versions.items())
        for old, new in pairwise(sorted(known))
        if low < new <= high and new > OLDEST
    ]
