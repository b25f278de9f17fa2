"""What an optimizer joined with a sum has the relevance that it had apart."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from decompositions import MS
from models import assert_close, run
from onnx import helper, numpy_helper

import lrp_onnx

FUSED_SUM = "r = com.microsoft.SkipLayerNormalization(x, p, one, one, b) y = MatMul(r, v)"
APART = "q = Add(p, b) t = Add(x, q) r = LayerNormalization(t, one, one) y = MatMul(r, v)"


@pytest.mark.parametrize("rule", ["epsilon", "attnlrp"])
def test_a_fused_bias_belongs_to_its_product(rule: str) -> None:
    """As in the model that the optimizer read, the bias keeps its share of the layer."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((8, 8)), "v": rng.standard_normal((8, 5)),
                 "b": rng.standard_normal(8), "one": np.ones(8)}  # fmt: skip
    x = rng.standard_normal((2, 3, 8)).astype(np.float32)
    found = []
    for body in (FUSED_SUM, APART):
        text = f"g (float[N,3,8] x) => (float[N,3,5] y) {{ p = MatMul(x, w) {body} }}"
        graph = onnx.parser.parse_graph(text)
        for node in graph.node:
            node.name = node.output[0]
        graph.initializer.extend(
            numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MS, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        compiled = lrp_onnx.compile(model, composite=rule, target="all", check=False)
        found.append(run(compiled.model, {"x": x})["x_relevance"])
    assert_close(found[0], found[1])
