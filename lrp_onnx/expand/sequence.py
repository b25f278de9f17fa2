"""Sequences whose elements are known when the model is compiled, resolved into tensors.

What is read from a sequence takes the tensors that were put in; the operators that made it are then
read by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.expand.build import Build, attribute
from lrp_onnx.expand.registry import expands

__all__: list[str] = []

Value = ir.Value | None


def _constant(value: Value, what: str) -> list[int]:
    if value is None or value.const_value is None:
        raise UnsupportedError(f"{what} is computed. Export the model without sequences")
    return [int(n) for n in value.const_value.numpy().reshape(-1)]


def _elements(build: Build, value: Value) -> list[Value]:
    """The tensors in a sequence; UnsupportedError where they are not known."""
    node = None if value is None else value.producer()
    if node is None or node.op_type not in SOURCES:
        raise UnsupportedError(
            "how many tensors its sequence holds is only known at run time. Export the model "
            "without sequences"
        )
    return SOURCES[node.op_type](build, node)


def _constructed(build: Build, node: ir.Node) -> list[Value]:
    return list(node.inputs)


def _inserted(build: Build, node: ir.Node) -> list[Value]:
    found = _elements(build, node.inputs[0])
    at = node.inputs[2] if len(node.inputs) > 2 else None
    (place,) = [len(found)] if at is None else _constant(at, "its position")
    found.insert(place, node.inputs[1])
    return found


def _erased(build: Build, node: ir.Node) -> list[Value]:
    found = _elements(build, node.inputs[0])
    at = node.inputs[1] if len(node.inputs) > 1 else None
    (place,) = [-1] if at is None else _constant(at, "its position")
    del found[place]
    return found


def _split(build: Build, node: ir.Node) -> list[Value]:
    """The parts along an axis, of one length or of given ones."""
    x, split = [*node.inputs, None][:2]
    axis = int(attribute(node, "axis", 0))
    size = None if x is None or x.shape is None else x.shape[axis]
    lengths = [1] if split is None else _constant(split, "the length of its parts")
    if split is None or not split.shape:
        if not isinstance(size, int):
            raise UnsupportedError("the size of the axis that it splits is unknown")
        whole, rest = divmod(size, lengths[0])
        lengths = [lengths[0]] * whole + [rest] * bool(rest)
    parts = build.outputs("Split", len(lengths), x, build.ints(*lengths), axis=axis)
    if split is None and not attribute(node, "keepdims", 1):
        return [build.op("Squeeze", part, build.ints(axis)) for part in parts]
    return list(parts)


SOURCES = {
    "SequenceConstruct": _constructed,
    "SequenceEmpty": _constructed,
    "SequenceErase": _erased,
    "SequenceInsert": _inserted,
    "SplitToSequence": _split,
}
"""Operators that make a sequence, and what it holds."""


@expands("SequenceAt")
def sequence_at(build: Build, node: ir.Node) -> Sequence[Value]:
    """One element of a known sequence.  Spec: ONNX SequenceAt-11."""
    (place,) = _constant(node.inputs[1], "its position")
    return [_elements(build, node.inputs[0])[place]]


@expands("ConcatFromSequence")
def concat_from_sequence(build: Build, node: ir.Node) -> Sequence[Value]:
    """The elements of a known sequence, joined.  Spec: ONNX ConcatFromSequence-11."""
    axis = int(attribute(node, "axis"))
    parts = _elements(build, node.inputs[0])
    if attribute(node, "new_axis", 0):
        parts = [build.op("Unsqueeze", part, build.ints(axis)) for part in parts]
    return [build.op("Concat", *parts, axis=axis)]


@expands("SequenceLength")
def sequence_length(build: Build, node: ir.Node) -> Sequence[Value]:
    """How many elements a known sequence has.  Spec: ONNX SequenceLength-11."""
    return [build.constant(len(_elements(build, node.inputs[0])))]


@expands("OptionalGetElement")
def optional_get_element(build: Build, node: ir.Node) -> Sequence[Value]:
    """The tensor that an optional holds, or that it is.  Spec: ONNX OptionalGetElement-18."""
    held = node.inputs[0]
    maker = None if held is None else held.producer()
    if maker is not None and maker.op_type == "Optional" and maker.inputs:
        return [maker.inputs[0]]
    if held is not None and isinstance(held.type, ir.TensorType):
        return [held]
    raise UnsupportedError("whether its optional holds a tensor is only known at run time")
