"""What a sequence holds, where that is known when the model is compiled."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build

__all__ = ["LONGEST", "MAKERS", "constant", "elements", "is_sequence"]

Value = ir.Value | None

LONGEST = 100
"""Elements up to which a sequence, or the Loop that makes it, is written out."""


def constant(value: Value, what: str) -> list[int]:
    """The integers of a constant; UnsupportedError, saying `what` it is, for what is computed."""
    if (numbers := constant_ints(value)) is None:
        raise UnsupportedError(f"{what} is computed. Export the model without sequences")
    return numbers


def is_sequence(value: Value) -> bool:
    """Whether it is a sequence or an optional, by its type or by what makes it."""
    if value is None:
        return False
    typed = isinstance(value.type, ir.SequenceType | ir.OptionalType)
    return typed or made_by(value, *MAKERS) is not None


def elements(build: Build, value: Value) -> list[Value]:
    """The tensors in a sequence; UnsupportedError where they are not known."""
    node = made_by(value, *MAKERS)
    if node is None:
        raise UnsupportedError(
            "how many tensors its sequence holds is only known at run time. Export the model "
            "without sequences"
        )
    return MAKERS[node.op_type](build, node)


def _constructed(build: Build, node: ir.Node) -> list[Value]:
    return list(node.inputs)


def _inserted(build: Build, node: ir.Node) -> list[Value]:
    values = elements(build, node.inputs[0])
    at = node.inputs[2] if len(node.inputs) > 2 else None
    (place,) = [len(values)] if at is None else constant(at, "its position")
    values.insert(place, node.inputs[1])
    return values


def _erased(build: Build, node: ir.Node) -> list[Value]:
    values = elements(build, node.inputs[0])
    at = node.inputs[1] if len(node.inputs) > 1 else None
    (place,) = [-1] if at is None else constant(at, "its position")
    del values[place]
    return values


def _split(build: Build, node: ir.Node) -> list[Value]:
    """The parts along an axis, of one length or of given ones."""
    x, split = [*node.inputs, None][:2]
    axis = node.attributes.get_int("axis", 0)
    size = None if x is None or x.shape is None else x.shape[axis]
    lengths = [1] if split is None else constant(split, "the length of its parts")
    if split is None or not split.shape:
        if not isinstance(size, int):
            raise UnsupportedError("the size of the axis that it splits is unknown")
        whole, rest = divmod(size, lengths[0])
        lengths = [lengths[0]] * whole + [rest] * bool(rest)
    parts = build.outputs("Split", len(lengths), x, build.ints(*lengths), axis=axis)
    if split is None and not node.attributes.get_int("keepdims", 1):
        return [build.op("Squeeze", part, build.ints(axis)) for part in parts]
    return list(parts)


MAKERS = {
    "SequenceConstruct": _constructed,
    "SequenceEmpty": _constructed,
    "SequenceErase": _erased,
    "SequenceInsert": _inserted,
    "SplitToSequence": _split,
}
"""Operators that make a sequence, and what it holds."""
