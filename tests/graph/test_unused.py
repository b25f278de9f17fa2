"""What `remove_unused` removes is what onnx-ir's own pass does."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from models import network
from onnx_ir.passes import common

from lrp_onnx.graph.unused import remove_unused

HEAD = '<ir_version: 8, opset_import: ["": {opset}, "own": 1]>'
MODELS = {
    "a chain that nothing reads": "a = Neg(x) b = Abs(a) y = Relu(x)",
    "what another domain makes": "a = own.Some(x) b = own.Other(x) y = Relu(b)",
    "what no opset knows": "y, b = Unknown(x)",
    "optional outputs at the end": "y, m = MaxPool<kernel_shape=[1]>(x)",
    "optional outputs that are read": "a, m = MaxPool<kernel_shape=[1]>(x) y = Gather(m, m)",
    "optional outputs in between": "y0, i, j, c = Unique(f) f = Flatten(x) y = Cast<to=1>(c)",
    "any number of outputs": "y, b = Split<num_outputs=2>(x)",
    "inputs left out at the end": "y = Clip(x, , )",
    "a normalization": "y = BatchNormalization(x, w, w, w, w)",
    "one that says it is not trained": "y = BatchNormalization<training_mode=0>(x, w, w, w, w)",
    "one that is trained": "y, m, v = BatchNormalization<training_mode=1>(x, w, w, w, w)",
    "what a body alone reads": (
        "a = Neg(x) b = Abs(x) c = Cast<to=9>(w) d = ReduceMax<keepdims=0>(w) q = Cast<to=9>(d)"
        " y = If(q) <then_branch = t () => (float[N,4,6] p) { r = Abs(b) p = Exp(a) },"
        " else_branch = e () => (float[N,4,6] o) { o, m = MaxPool<kernel_shape=[1]>(x) }>"
    ),
}


def parsed(body: str, opset: int) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        f"{HEAD.format(opset=opset)} g (float[N,4,6] x) => (float[N,4,6] y) {{ {body} }}"
    )
    drawn = network("y = Add(x, w)", (1, 4), w=(4,), unread=(2,)).graph.initializer
    model.graph.initializer.extend(drawn)
    return model


@pytest.mark.parametrize("opset", [11, 18, 21])
@pytest.mark.parametrize("body", MODELS.values(), ids=MODELS)
def test_it_is_the_librarys_pass(body: str, opset: int) -> None:
    ours, theirs = (ir.from_proto(parsed(body, opset)) for _ in range(2))
    remove_unused(ours)
    common.RemoveUnusedNodesPass()(theirs)
    assert ir.to_proto(ours) == ir.to_proto(theirs)
    assert "unread" not in ours.graph.initializers
