"""A constant that shifts a whole row of scores stays out of their softmax.

    softmax(x + c) = softmax(x),    c the same along the softmax's axis.

The rule of a softmax shares relevance out by its input (`rules/softmax.toml`), so that it would
depend on what the softmax does not see.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.annotations import aliases
from lrp_onnx.graph.constants import array_of
from lrp_onnx.graph.makers import made_by

__all__ = ["unshifted_softmaxes"]


@each("Softmax", "LogSoftmax")
def unshifted_softmaxes(view: View, softmax: ir.Node) -> bool:
    """Let a softmax read what is in front of such shifts."""
    changed = False
    while (x := _before_shift(softmax)) is not None:
        shifted = softmax.inputs[0]
        softmax.replace_input_with(0, x)
        if shifted is not None and not shifted.uses():
            aliases(view.model)[shifted.name] = x.name
        changed = True
    return changed


def _before_shift(softmax: ir.Node) -> ir.Value | None:
    """What its input is a shifted copy of."""
    y = softmax.inputs[0]
    node = made_by(y, "Add", "Sub")
    if node is None or y is None:
        return None
    at = 0 if array_of(node.inputs[1]) is not None else 1
    x, shift = node.inputs[at], array_of(node.inputs[1 - at])
    if x is None or shift is None or (at == 1 and node.op_type == "Sub") or x.shape != y.shape:
        return None
    axis, rank = softmax.attributes.get_int("axis", -1), len(x.shape or ())
    behind = (axis + rank if axis < 0 else axis) - rank
    along = shift.shape[behind] if -behind <= shift.ndim else 1
    return x if rank and along == 1 and bool(abs(shift).max(initial=0) < float("inf")) else None
