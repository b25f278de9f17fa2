"""A convolution whose kernel is computed (CondConv, hyper-networks) is a product of activations."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx import RuleError

BODY = """
    a = Conv<pads=[1,1,1,1]>(x, w)\n p = ReduceMean<keepdims=0>(a, space)\n k = MatMul(p, v)
    s = Reshape(k, kernel)\n {conv}\n y = ReduceMean<keepdims=0>(c, space)"""
KERNELS = {
    "Conv": ("c = Conv(a, s)", (2, 54), [3, 2, 3, 3]),
    "ConvTranspose": ("c = ConvTranspose(a, s)", (2, 54), [2, 3, 3, 3]),
    "two": ("d = Conv<pads=[1,1,1,1]>(a, s)\n c = Conv(d, s)", (2, 36), [2, 2, 3, 3]),
}
COMPOSITES = ("epsilon-plus", "epsilon-plus-flat", "epsilon-alpha2-beta1",
              "epsilon-alpha2-beta1-flat", "epsilon-gamma-box")  # fmt: skip


def model_of(name: str) -> onnx.ModelProto:
    conv, v, kernel = KERNELS[name]
    return network(BODY.format(conv=conv), (1, 2, 8, 8), (), w=(2, 2, 3, 3), v=v, kernel=kernel,
                   space=[2, 3])  # fmt: skip


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_it_has_the_rule_of_its_kind(kernel: str, composite: str) -> None:
    box = {"low": -3.0, "high": 3.0} if "box" in composite else {}
    compiled = lrp_onnx.compile(model_of(kernel), composite, parameters=box)
    by_name = {line.name: line for line in compiled.report}
    assert by_name["c"].rule == by_name["c"].kind == "bilinear"
    assert by_name["a"].kind == "linear"
    assert by_name["a"].rule != "bilinear"


def test_relevance_above_it_is_that_of_epsilon() -> None:
    """The rules of the composites differ below the product alone."""
    x = np.random.default_rng(0).standard_normal((1, 2, 8, 8)).astype(np.float32)
    found = []
    for composite in ("epsilon", "epsilon-plus"):
        compiled = lrp_onnx.compile(model_of("Conv"), composite, relevance_at=["s", "c"], target=1)
        found.append(run(compiled.model, {"x": x}))
    for name in ("s_relevance", "c_relevance"):
        assert_close(found[1][name], found[0][name])


def test_every_node_without_a_weight_is_named() -> None:
    with pytest.raises(RuleError) as told:
        lrp_onnx.compile(model_of("two"), rules={"Conv": "zplus"})
    assert "'d' (Conv)" in str(told.value)
    assert "'c' (Conv)" in str(told.value)
    assert "'a'" not in str(told.value)
