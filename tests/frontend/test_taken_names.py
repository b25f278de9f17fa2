"""A model may have the names that an explanation's tensors would get."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import network
from test_prediction import CONSTANTS, END, TOKENS, U, outputs, used

import lrp_onnx


def test_a_body_gives_up_the_names_that_the_signature_takes() -> None:
    body = (
        "l = Loop<body = turn (int64 i, bool c, float[A,B,C] s0) => (bool c1_, float[A,B,C] s1)"
        " { c1_ = Identity(c) target = Add(s0, one) x_relevance = Mul(target, half)"
        " s1 = Tanh(x_relevance) }>(turns, yes, x) r = Reshape(l, tokens)"
    )
    constants = {**CONSTANTS, "tokens": [-1, 6, 6]}
    model = network(f"{body} {END}", TOKENS, **used(constants, body))
    result = lrp_onnx.compile(model, "epsilon", target="input").model
    onnx.checker.check_model(result, full_check=True)
    assert [v.name for v in result.graph.input] == ["x", "target"]
    assert [v.name for v in result.graph.output] == ["y", "x_relevance"]


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "gradient"])
@pytest.mark.parametrize("name", ["x_relevance", "c_relevance", *(f"lrp_{k}" for k in (1, 2, 3, 9)),
                                  *(f"lrp_{k}/folded" for k in range(8, 14))])  # fmt: skip
def test_a_tensor_may_have_a_name_that_is_emitted(name: str, composite: str) -> None:
    found = []
    for own in ("neutral", name):
        body = "c = MatMul(x, u) neutral = Tanh(c) d = Add(neutral, bias) y = MatMul(d, p)"
        model = network(body, TOKENS, **{**used(CONSTANTS, body), "u": U, "p": U[::-1].copy()})
        model.graph.node[1].output[0] = model.graph.node[2].input[0] = own
        del model.graph.value_info[:]
        options = {"target": "all", "relevance_at": ["c"]}
        result = lrp_onnx.compile(model, composite, **options).model
        x = np.linspace(-1, 1, 72, dtype=np.float32).reshape(TOKENS)
        found.append(outputs(result, x))
    assert all(np.array_equal(found[0][each], found[1][each]) for each in found[0])
