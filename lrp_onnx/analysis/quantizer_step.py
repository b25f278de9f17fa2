"""How far one step of a quantizer moves an output: no forward of a quantized model is closer.

A rounding difference of 1e-7 in front of a quantizer may carry a value over to the next number, and
the output then differs by a whole step.  Which step is told by the DequantizeLinear that makes the
output; where floats lie between, it is one in 255 of the output's own range.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.graph.makers import upstream
from lrp_onnx.ops.registry import find

__all__ = ["quantizer_step"]

STEPS = 255
QUANTIZED = ("QLinear", "QGemm", "QAttention", "DynamicQuantize")
"""What the names of operators that quantize inside themselves begin with: they are expanded, and
have no record.
"""


def quantizer_step(output: ir.Value, values: NDArray[np.generic]) -> float:
    """One step of the last quantizer in front of an output, in its unit; 0 if there is none.

    values: the output as the original computes it.
    """
    value: ir.Value | None = output
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "DequantizeLinear":
            return _scale(node, values)
        operator = find(node)
        if operator is None or operator.kind != "move" or operator.inputs != (0,):
            break
        value = node.inputs[0]
    makers = filter(None, (v.producer() for v in upstream([output])))
    return _of_range(values) if any(map(_quantizes, makers)) else 0.0


def _scale(node: ir.Node, values: NDArray[np.generic]) -> float:
    scale = None if node.inputs[1] is None else node.inputs[1].const_value
    return _of_range(values) if scale is None else float(scale.numpy().max())


def _of_range(values: NDArray[np.generic]) -> float:
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.ptp(finite)) / STEPS if finite.size else 0.0


def _quantizes(node: ir.Node) -> bool:
    operator = find(node)
    rounds = operator is not None and operator.straight_through
    return rounds or node.op_type.startswith(QUANTIZED)
