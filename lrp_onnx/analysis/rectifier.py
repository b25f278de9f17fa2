"""Which nodes are rectifiers: max(x, 0), below an upper bound or not, whatever operator spells it.

A Clip from 0 (ReLU6), a Max with 0, a LeakyRelu or PRelu whose slope below 0 is 0, a
ThresholdedRelu from 0, and the choice of x where x > 0 are what a Relu is.  A bounded one that
multiplies another activation, as in x·clip(x + 3, 0, 6)/6, is a hard sigmoid and none.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from lrp_onnx.graph.constants import array_of

__all__ = ["is_rectifier"]


def is_rectifier(node: ir.Node) -> bool:
    """Whether output 0 is max(x, 0), or min(max(x, 0), bound) with a bound above 0."""
    known = FORMS.get(node.op_type)
    return known is not None and not node.domain and known(node) and not _gates(node)


def _gates(node: ir.Node) -> bool:
    """Whether it has an upper bound and, scaled by a constant or not, only multiplies another
    activation.
    """
    bounded = node.op_type == "Clip" and len(node.inputs) > 2 and node.inputs[2] is not None
    value = node.outputs[0]
    while (uses := value.uses()) and len(uses) == 1 and not value.is_graph_output():
        ((reader, index),) = uses
        others = [v for k, v in enumerate(reader.inputs) if k != index]
        by_constant = all(v is None or array_of(v) is not None for v in others)
        if reader.op_type in ("Min", "Clip") and by_constant:
            bounded = True
        elif reader.op_type not in ("Mul", "Div") or not by_constant:
            return bounded and reader.op_type == "Mul"
        value = reader.outputs[0]
    return False


def _clips_from_zero(node: ir.Node) -> bool:
    low, high = [*node.inputs[1:], None, None][:2]
    bound = array_of(high)
    return _is_zero(low) and (high is None or (bound is not None and bool((bound > 0).all())))


def _is_maximum_with_zero(node: ir.Node) -> bool:
    constant = [v for v in node.inputs if v is not None and array_of(v) is not None]
    return len(node.inputs) == 2 and len(constant) == 1 and _is_zero(constant[0])


def _chooses_positive(node: ir.Node) -> bool:
    """Where(x > 0, x, 0), or Where(x < 0, 0, x)."""
    condition, chosen, other = node.inputs
    compared = None if condition is None else condition.producer()
    if compared is None or compared.op_type not in (*ABOVE, *BELOW):
        return False
    left, right = compared.inputs
    if _is_zero(left):
        left, right, above = right, left, compared.op_type in BELOW
    else:
        above = compared.op_type in ABOVE
    x, constant = (chosen, other) if above else (other, chosen)
    return left is x and _is_zero(right) and _is_zero(constant)


def _is_zero(value: ir.Value | None) -> bool:
    array = array_of(value)
    return array is not None and array.size == 1 and not array.any()


ABOVE, BELOW = ("Greater", "GreaterOrEqual"), ("Less", "LessOrEqual")
FORMS: dict[str, Callable[[ir.Node], bool]] = {
    "Relu": lambda node: True,
    "Clip": _clips_from_zero,
    "Max": _is_maximum_with_zero,
    "LeakyRelu": lambda node: node.attributes.get_float("alpha", 0.01) == 0,
    "PRelu": lambda node: _is_zero(node.inputs[1]),
    "ThresholdedRelu": lambda node: node.attributes.get_float("alpha", 1.0) == 0,
    "Where": _chooses_positive,
}
