"""Rows of the operators of attention: Softmax, norms by the input's own statistics, products of
matrices.
"""

from __future__ import annotations

import onnx
from models import Case, model_of


class Shaped(Case):
    """A row whose output's shape onnx does not infer: that of x."""

    def model(self) -> onnx.ModelProto:
        identity = onnx.helper.make_node("Identity", ["x"], ["y"])
        constants = self.constants()
        model = model_of([identity], constants, self.activations, self.symbolic, self.opset)
        model.graph.node[0].CopyFrom(self.nodes()[0])
        return model


ATTENTION = [
    Case("Softmax", x=(2, 3, 4), then="Neg"),  # at the end relevance would start at its input
    Case("Softmax", {"axis": 1}, x=(2, 3, 4), then="Neg"),
    Case("Softmax", {"axis": -2}, x=(2, 3, 2, 2), then="Neg"),
    Case("Softmax", {"axis": 0}, x=(5,), then="Neg"),
    Case("Softmax", {"axis": 2}, x=(2, 3, 4), then="Neg", opset=11),
    Case("LogSoftmax", x=(2, 3, 4), then="Neg"),
    Case("LogSoftmax", {"axis": 1}, x=(2, 3, 4), then="Neg"),
    Case("LayerNormalization", x=(2, 3, 4), scale=(4,), b=(4,)),
    Case("LayerNormalization", x=(2, 3, 4), scale=(4,)),
    Case("LayerNormalization", {"epsilon": 0.3}, x=(2, 4), scale=(4,), b=(4,)),
    Case("LayerNormalization", {"axis": 1}, x=(2, 3, 4), scale=(3, 4), b=(3, 4)),
    Case("LayerNormalization", {"axis": -2}, x=(2, 3, 4), scale=(4,), b=(3, 1)),
    Case("LayerNormalization", {"axis": 0}, x=(3, 4), scale=(3, 4)),
    Case("InstanceNormalization", x=(2, 3, 4), scale=(3,), b=(3,)),
    Case("InstanceNormalization", {"epsilon": 0.3}, x=(2, 3, 2, 3), scale=(3,), b=(3,)),
    Shaped("GroupNormalization", {"num_groups": 2}, x=(2, 4, 3), scale=(4,), b=(4,), opset=21),
    Shaped("GroupNormalization", {"num_groups": 2, "epsilon": 0.3}, x=(2, 4, 2, 2), scale=(4,),
           b=(4,), opset=21),
    Case("MatMul", x=(2, 3), x2=(3, 4)),
    Case("MatMul", x=(2, 3, 4), x2=(2, 4, 2)),
    Case("MatMul", x=(2, 1, 3, 4), x2=(3, 4, 2)),
    Case("MatMul", x=(3, 4), x2=(2, 4, 2)),
    Case("MatMul", x=(4,), x2=(2, 4, 3)),
    Case("MatMul", x=(2, 3, 4), x2=(4,)),
    Case("MatMul", x=(4,), x2=(4,)),
    Case("Gemm", x=(2, 3), x2=(3, 4)),
    Case("Gemm", {"alpha": 0.5, "transA": 1}, x=(3, 2), x2=(3, 4), c=(4,)),
    Case("Gemm", {"transB": 1, "beta": 2.0}, x=(2, 3), x2=(4, 3), x3=(2, 4)),
    Case("Gemm", {"transA": 1, "transB": 1}, x=(3, 2), x2=(4, 3), x3=(4,)),
]  # fmt: skip
