"""m·a + (1 - m)·b with m a mask is a choice between a and b, as TensorFlow's SelectV2 is converted.

A sum shares relevance out with a stabilizer, a choice hands it on.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.makers import either_way, inputs_by
from lrp_onnx.graph.replacement import Build

__all__ = ["masked_sums"]


@each("Add")
def masked_sums(view: View, node: ir.Node) -> bool:
    """Write such a sum as Where."""
    for first, second in either_way(list(node.inputs)):
        for mask, a in either_way(inputs_by(first, "Mul")):
            for other, b in either_way(inputs_by(second, "Mul")):
                taken, left = _truths(mask), _truths(other)
                if taken is None or not (negated := inputs_by(left, "Not")):
                    continue
                if negated[0] is taken:
                    build, y = Build(view.graph, node, "choice"), node.outputs[0]
                    build.replace(build.op("Where", taken, a, b, like=y))
                    return True
    return False


def _truths(value: ir.Value | None) -> ir.Value | None:
    """What a mask of zeros and ones is cast from."""
    cast = inputs_by(value, "Cast")
    truths = cast[0] if cast else None
    return truths if truths is not None and truths.dtype == ir.DataType.BOOL else None
