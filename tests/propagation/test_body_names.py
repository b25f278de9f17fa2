"""Nodes in bodies by name: in rule patterns, in reports, in what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_bodies import HEAD

import lrp_onnx
from lrp_onnx.cli.main import main
from lrp_onnx.errors import LrpError, RuleError, TargetError, UnsupportedError

NESTED = """g (float[T,2,3] x, float[2,4] h0, bool c) => (float[2,2] y) {
    zero = Constant<value_int=0>() sizes = Shape(x) n = Gather(sizes, zero)
    go = Constant<value=bool {1}>()
    hn = Loop<body = step (int64 i, bool g0, float[2,4] h) => (bool g1, float[2,4] ho) {
        g1 = Identity(g0) e = Gather(x, i) a = MatMul(e, w)
        ho = If<then_branch = yes () => (float[2,4] r1) { p = MatMul(h, u) s = Add(p, a)
                  r1 = Relu(s) },
                else_branch = no () => (float[2,4] r2) { r2 = Add(a, h) }>(c) }>(n, go, h0)
    y = MatMul(hn, v) }"""
UNKNOWN = """g (float[T,2,3] x, float[2,4] h0, bool c, int64[K] k) => (float[2,2] y) {
    hn = Scan<num_scan_inputs=1, body = step (float[2,4] h, float[2,3] e) => (float[2,4] ho) {
        a = MatMul(e, w) t = Add(a, h)
        ho = If<then_branch = yes () => (float[2,4] r1) { q = Reshape(t, k)
                  z = Concat<axis=-1>(q, q) d = ReduceMean<keepdims=1>(z) r1 = Add(t, d) },
                else_branch = no () => (float[2,4] r2) { r2 = Relu(t) }>(c) }>(h0, x)
    y = MatMul(hn, v) }"""
SHAPES = {"w": (3, 4), "u": (4, 4), "v": (4, 2)}


def model_of(text: str) -> onnx.ModelProto:
    """Every node is called after its operator and its first output."""
    model = onnx.parser.parse_model(HEAD + text)
    for name, shape in SHAPES.items():
        array = np.ones(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    _name(model.graph)
    return model


def _name(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _name(attribute.g)


PATTERNS = {
    "Loop_hn/If_ho/MatMul_p": {"Loop_hn/If_ho/MatMul_p"},
    "MatMul_p": {"Loop_hn/If_ho/MatMul_p"},
    "Loop_hn/*": {"Loop_hn/If_ho/MatMul_p", "Loop_hn/MatMul_a"},
    "MatMul": {"Loop_hn/If_ho/MatMul_p", "Loop_hn/MatMul_a", "MatMul_y"},
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_reaches_into_bodies(pattern: str) -> None:
    report = lrp_onnx.compile(model_of(NESTED), "epsilon", rules={pattern: "zplus"}).report
    assert {line.name for line in report if line.rule == "zplus"} == PATTERNS[pattern]


def refused(text: str, kind: type[LrpError], **options: object) -> str:
    with pytest.raises(kind) as caught:
        lrp_onnx.compile(model_of(text), "epsilon", **options)  # type: ignore[arg-type]
    assert "lrp/" not in str(caught.value)
    assert "'lrp" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused_in_a_body_is_named_as_in_the_model() -> None:
    message = refused(UNKNOWN, UnsupportedError)
    assert "node 'Scan_hn/If_ho/Concat_z' (Concat): the rank of tensor 'z' is unknown" in message


def test_inspect_shows_what_is_refused_in_a_body(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(model_of(UNKNOWN), tmp_path / "m.onnx")
    assert main(["inspect", str(tmp_path / "m.onnx"), "--composite", "epsilon"]) == 2
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Scan_hn/If_ho/Concat_z", "Concat", "unsupported"] in [line[:3] for line in lines]


def test_a_rule_that_does_not_fit_in_a_body_names_the_node() -> None:
    message = refused(NESTED, RuleError, rules={"Relu_r1": "epsilon"})
    assert message.startswith("node 'Loop_hn/If_ho/Relu_r1' (Relu), rule 'epsilon': ")


@pytest.mark.parametrize("option", ["relevance_at", "conditions"])
def test_a_tensor_in_a_body_is_no_output(option: str) -> None:
    message = refused(NESTED, TargetError, **{option: "s"})
    assert message.startswith("tensor 's': it lies in a body of node 'Loop_hn/If_ho'")
