"""Models at other opsets: bodies, constants, names, what is refused."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, parser
from onnx.reference import ReferenceEvaluator
from opset_models import IF, OPTIONAL, TEXTS, agree, check, converted, run, text_model

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.opset import NEWEST


@pytest.mark.parametrize(("opset", "text", "condition"), TEXTS)
def test_graphs_inside_nodes(opset: int, text: str, condition: bool | None) -> None:
    model = text_model(opset, text)
    shape = [dim.dim_value for dim in model.graph.input[-1].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(opset).standard_normal(shape).astype(np.float32)}
    if condition is not None:
        feeds["c"] = np.array(condition)
    check(model, feeds, "reference" if opset >= 25 and "Swish" in text else "ort")


def test_scan_over_a_batch() -> None:
    text = """agraph (float[2,3,4] x, float[2,4] s0) => (float[2,4] y, float[2,3,4] all) {
      y, all = Scan <num_scan_inputs = 1, directions = [1], body = step (float[4] s, float[4] part)
        => (float[4] t, float[4] u) { a = Softmax <axis = 0> (part) t = Add (s, a) u = Neg (t) }>
        ("", s0, x) }"""
    rng = np.random.default_rng(0)
    feeds = {k: rng.standard_normal(shape).astype(np.float32)
             for k, shape in (("x", (2, 3, 4)), ("s0", (2, 4)))}  # fmt: skip
    check(text_model(8, text), feeds)


def test_optional_values_are_untouched() -> None:
    model = text_model(28, OPTIONAL)
    for node in model.graph.node:
        node.ClearField("domain")
    assert list(converted(model).graph.node) == list(model.graph.node)


@pytest.mark.parametrize("opset", [*range(18, 22)])
def test_model_in_range_is_left_alone(opset: int) -> None:
    model = text_model(opset, IF % ("Relu", "Neg"))
    assert converted(model) == ir.serde.serialize_model(ir.serde.deserialize_model(model))


DESCRIBED = """<ir_version: %d, opset_import: ["ai.onnx" : %d, "com.acme" : 3, "ai.onnx.ml" : 2],
  producer_name: "us", doc_string: "text", model_version: 4, metadata_props: ["k": "v"]>
agraph (float[N,3,4] x) => (float[N,3,4] y) {
  [first] a = Softmax (x) [own] b = com.acme.Thing <axes = [1]> (a) [last] y = Identity (b) }"""


@pytest.mark.parametrize(("opset", "version"), [(7, 3), (12, 7), (20, 14), (26, 13)])
def test_description_names_and_domains_survive(opset: int, version: int) -> None:
    model = parser.parse_model(DESCRIBED % (version, opset))
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "origin", "line 3"
    before = model.SerializeToString()
    brought = converted(model)
    assert model.SerializeToString() == before
    domains = {entry.domain: entry.version for entry in brought.opset_import}
    assert (domains["com.acme"], domains["ai.onnx.ml"]) == (3, 2)
    for part in ("producer_name", "doc_string", "model_version", "metadata_props"):
        assert getattr(brought, part) == getattr(model, part)
    assert list(brought.graph.input) == list(model.graph.input)
    assert list(brought.graph.output) == list(model.graph.output)
    nodes = {node.name: node for node in brought.graph.node}
    assert {"first", "own", "last"} <= set(nodes)
    assert nodes["first"].op_type == "Softmax"
    assert list(nodes["first"].metadata_props) == [entry]
    assert nodes["own"] == model.graph.node[1]


def test_large_weights_may_be_missing() -> None:
    text = """agraph (float[N,2,8,8] x, float[4,2,3,3] w) => (float[N,4,12,12] y)
      <float[4] s = {1,1,2,2}> {
      a = Conv (x, w) y = Upsample <mode = "linear"> (a, s) }"""
    brought = converted(text_model(9, text))
    assert [node.op_type for node in brought.graph.node] == ["Conv", "Resize"]


def test_constants_are_read_from_constant_nodes_and_outer_graphs() -> None:
    text = """agraph (bool c, float[1,1,2,2] x) => (float[1,1,H,W] y) {
      s = Constant <value = float[4] {1,1,2,2}> ()
      y = If (c) <then_branch = t () => (float[1,1,H,W] a) { a = Resize (x, s) },
                  else_branch = e () => (float[1,1,H,W] b) {
                    b = Resize <mode = "linear"> (x, s) }> }"""
    model = text_model(10, text)
    check(model, {"c": np.array(True), "x": np.ones((1, 1, 2, 2), np.float32)})
    branch = converted(model).graph.node[-1].attribute[0].g
    assert [node.op_type for node in branch.node] == ["Resize"]


def test_names_stay_unique() -> None:
    text = """agraph (float[2,3,4] x) => (float[2,3,4] y, float[2,3,4] z) {
      [n] y = Softmax (x) [n_2] z = Softmax (x) }"""
    model = text_model(11, text)
    model.graph.node[1].name = "n/Softmax"
    brought = check(model, {"x": np.ones((2, 3, 4), np.float32)})
    names = [node.name for node in brought.graph.node]
    assert len(set(names)) == len(names)


REFUSED = [
    (6, "y = Relu (x)", ["opset 6", "7 to 28"]),
    (29, "y = Relu (x)", ["opset 29", "7 to 28"]),
    (9, "[d] y, m = Dropout (x) [e] z = Not (m)", ["'d' (Dropout)", "mask"]),
    (9, "[b] y, a, b, c, d = BatchNormalization (x, x, x, x, x) z = Neg (d)",
     ["'b' (Batch", "training"]),
    (8, "[s] y = Scan <num_scan_inputs = 1, body = g (float u) => (float v) {v = Neg (u)}> (x, x)",
     ["'s' (Scan)", "lengths"]),
    (12, """[r] y = Resize <mode = "linear",
     coordinate_transformation_mode = "tf_half_pixel_for_nn"> (x, x, x)""",
     ["'r' (Resize)", "tf_half_pixel_for_nn"]),
    (9, "[c] y = Clip ()", ["Clip", "not valid ONNX"]),
    (9, "[p] y = Pad (x)", ["'p' (Pad)", "pads"]),
    (8, "[u] y = Upsample (x)", ["'u' (Upsample)", "scales"]),
    (25, "[s] y = Swish (x, x)", ["'s' (Swish)", "input size"]),
    (25, "[u] y = Thing <to = 1> (x) z = com.other.Thing (x)", ["com.other", "not valid ONNX"]),
    (9, "a = com.acme.Thing (x) [c] y = Clip <min = 1.0> (a)", ["'c' (Clip)", "element type"]),
    (26, "[c] a = BitCast <to = 6> (x) [i] y = BitCast <to = 1> (a)",
     ["'c' (BitCast)", "'i' (BitCast)"]),
    (26, "[c] a = Cast <to = 23> (x) [d] y = Cast <to = 1> (a)", ["'c' (Cast)", "float4e2m1"]),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "nodes", "parts"), REFUSED)
def test_refusals_name_node_and_fact(opset: int, nodes: str, parts: list[str]) -> None:
    model = text_model(min(opset, NEWEST), f"agraph (float[3,4] x) => (float[3,4] y) {{ {nodes} }}")
    model.opset_import[0].version = opset
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(ModelError) as refusal:
        converted(model)
    assert [part for part in parts if part not in str(refusal.value)] == []


def test_half_precision_that_is_too_new_is_cast() -> None:
    text = """agraph (float[3,4] x) => (bfloat16[3,4] i, float[3,4] y) {
      h = Cast <to = 16> (x) i = Cos (h) y = Cast <to = 1> (i) }"""
    model = text_model(25, text)
    brought = converted(model)
    assert [n.op_type for n in brought.graph.node] == ["Cast", "Cast", "Cos", "Cast", "Cast"]
    assert list(brought.graph.output) == list(model.graph.output)
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    agree(
        ReferenceEvaluator(brought).run(["y"], {"x": x}),
        ReferenceEvaluator(model).run(["y"], {"x": x}),
    )


def test_checking_helper_sees_one_percent() -> None:
    values = np.linspace(-1, 1, 5, dtype=np.float32)
    agree([values], [values])
    with pytest.raises(AssertionError):
        agree([values * np.float32(1.01)], [values])


def test_training_batch_normalization_keeps_its_outputs() -> None:
    text = """agraph (float[4,3] x, float[3] c) => (float[4,3] y, float[3] m, float[3] v) {
      y, m, v, k, l = BatchNormalization <momentum = 0.8> (x, c, c, c, c) }"""
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((4, 3)).astype(np.float32), "c": np.ones(3, np.float32)}
    got = run(converted(text_model(9, text)), feeds)
    mean, variance = feeds["x"].mean(0), feeds["x"].var(0)
    agree(got[:1], [(feeds["x"] - mean) / np.sqrt(variance + np.float32(1e-5)) + 1])
    agree(got[1:], [np.float32(0.8) + mean / 5, np.float32(0.8) + variance / 5])
