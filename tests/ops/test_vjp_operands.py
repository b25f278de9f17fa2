"""Operators whose weights, biases and bounds depend on the explained input too."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import test_vjp
from attention import Shaped
from models import Case, assert_close, run

import lrp_onnx

ROWS = [
    Case("Conv", x=(2, 3, 5, 6), x2=(4, 3, 3, 2)),
    Case("Conv", x=(2, 3, 5, 6), x2=(4, 3, 3, 2), x3=(4,)),
    Case("Conv", {"strides": [2, 2], "pads": [1, 0, 1, 1]}, x=(1, 2, 6, 5), x2=(3, 2, 3, 2)),
    Case("Conv", {"strides": [3], "dilations": [2]}, x=(2, 2, 12), x2=(3, 2, 3)),
    Case("Conv", {"group": 2, "strides": [2, 1]}, x=(2, 4, 6, 4), x2=(6, 2, 3, 2)),
    Case("Conv", {"group": 3, "pads": [1, 1]}, x=(2, 3, 5), x2=(3, 1, 3), x3=(3,)),
    Case("Conv", x=(1, 2, 3, 4, 3), x2=(2, 2, 2, 2, 1)),
    Case("Conv", c=(2, 3, 5), x=(4, 3, 2)),
    Case("ConvTranspose", x=(2, 3, 3, 4), x2=(3, 2, 3, 2)),
    Case("ConvTranspose", {"strides": [2, 3], "pads": [1, 0, 0, 2]}, x=(1, 2, 4, 3),
         x2=(2, 3, 3, 3), x3=(3,)),
    Case("ConvTranspose", {"group": 2, "strides": [2], "output_padding": [1], "dilations": [2]},
         x=(2, 4, 3), x2=(4, 2, 3)),
    Case("Gemm", x=(2, 3), x2=(3, 4), x3=(4,)),
    Case("Gemm", {"alpha": 0.5, "beta": 2.0, "transB": 1}, x=(2, 3), w=(4, 3), x3=(2, 1)),
    Case("Clip", x=(3, 4), x2=(), x3=()),
    Case("Clip", x=(3, 4), low=None, x3=()),
    Case("PRelu", x=(2, 3, 2), x2=(3, 1)),
    Case("Pow", x=(2, 3), x2=(3,), between=(0.5, 2.0)),
    Case("BatchNormalization", x=(2, 3, 2, 2), x2=(3,), x3=(3,), x4=(3,), x5=(3,),
         between=(0.5, 2.0)),
    Case("BatchNormalization", x=(2, 3), x2=(3,), b=(3,), mean=(3,), variance=[0.5, 1.0, 2.0]),
    Case("LayerNormalization", x=(2, 3, 4), x2=(4,), x3=(4,)),
    Case("LayerNormalization", {"axis": 1, "epsilon": 0.1}, x=(2, 3, 4), x2=(3, 4)),
    Case("LayerNormalization", x=(2, 3, 4), scale=(4,), x3=(4,)),
    Case("LayerNormalization", {"axis": -1}, x=(2, 3, 4), scale=(4,), outputs=3),
    Case("LayerNormalization", {"axis": 1}, x=(2, 3), x2=(3,), x3=(3,), outputs=2),
    Case("InstanceNormalization", x=(2, 3, 4), x2=(3,), x3=(3,)),
    Case("InstanceNormalization", {"epsilon": 0.1}, x=(2, 3, 2, 2), scale=(3,), x3=(3,)),
    Shaped("GroupNormalization", {"num_groups": 2}, x=(2, 4, 3), x2=(4,), x3=(4,), opset=21),
]  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rule", ["gradient", "epsilon"])
def test_dropout_that_may_train(rule: str, training: bool) -> None:
    """Relevance goes where the forward of the same run kept something; none is lost."""
    case = Case("Dropout", {"seed": 3}, x=(4, 50), ratio=0.25, training=True, opset=13)
    model = case.model()
    (given,) = [t for t in model.graph.initializer if t.name == "training"]
    model.graph.initializer.remove(given)
    model.graph.input.append(onnx.helper.make_tensor_value_info("training", given.data_type, []))
    start = "one" if rule == "gradient" else "logit"
    compiled = lrp_onnx.compile(model, rule, target="all", start=start, check=False)
    feeds = {**case.feeds(), "training": np.array(training)}
    outputs = run(compiled.model, feeds)
    factor = outputs["y"] / feeds["x"]
    assert set(factor.round(3).ravel()) == ({0.0, np.float32(1.333)} if training else {1.0})
    assert_close(outputs["x_relevance"], factor if rule == "gradient" else outputs["y"])


def with_kernel_shape(case: Case) -> Case:
    """The row as exporters write it: without this onnx does not know the rank of the output."""
    if case.op not in ("Conv", "ConvTranspose"):
        return case
    w = list(case.inputs.values())[1]
    return Case(case.op, {"kernel_shape": list(w[2:]), **case.attributes}, **case.inputs)


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_vjp_is_the_jacobian(case: Case) -> None:
    if with_kernel_shape(case) is not case:
        known = copy.copy(case)
        known.sized = True
        test_vjp.check_jacobian(known)
    test_vjp.check_jacobian(with_kernel_shape(case))
