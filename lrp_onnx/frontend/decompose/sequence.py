"""Sequences whose elements are known when the model is compiled, resolved into tensors.

What is read from a sequence takes the tensors that were put in; the operators that made it are then
read by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.heads import column
from lrp_onnx.frontend.decompose.known import constant, elements
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

Value = ir.Value | None


@decomposes("SequenceAt")
def sequence_at(build: Build, node: ir.Node) -> Sequence[Value]:
    """One element of a known sequence, or of the parts of a tensor whose number is not known.

    Spec: ONNX SequenceAt-11.
    """
    sequence, at = node.inputs
    split = made_by(sequence, "SplitToSequence")
    computed = at is None or at.const_value is None
    try:
        values = elements(build, sequence)
    except UnsupportedError:
        if split is None:
            raise
        return [_part(build, split, at)]
    if computed and split is not None:
        return [_part(build, split, at)]
    if computed and _equal_shapes(values):
        stacked = [build.op("Unsqueeze", value, build.ints(0)) for value in values]
        return [build.op("Gather", build.op("Concat", *stacked, axis=0), at, axis=0)]
    (place,) = constant(at, "its position")
    return [values[place]]


def _equal_shapes(values: Sequence[Value]) -> bool:
    shapes = [None if v is None or v.shape is None else v.shape for v in values]
    first = shapes[0] if shapes else None
    known = first is not None and all(isinstance(size, int) for size in first)
    return known and all(shape == first for shape in shapes)


def _part(build: Build, split: ir.Node, at: Value) -> ir.Value:
    """The part at a position, of SplitToSequence by sizes that only the run knows."""
    x, sizes = [*split.inputs, None][:2]
    axis = int(split.attributes.get_int("axis", 0))
    place = column(build, at)
    if sizes is not None and sizes.shape is None:
        raise UnsupportedError("how many parts it is split into is unknown")
    if sizes is not None and sizes.shape:
        ends = build.op("CumSum", build.op("Cast", sizes, to=int(ir.DataType.INT64)), build.ints(0))
        begins = build.op("Sub", ends, build.op("CastLike", sizes, ends))
        begin, end = (build.op("Gather", edge, place) for edge in (begins, ends))
    else:
        size = build.ints(1) if sizes is None else column(build, sizes)
        whole = build.op("Gather", build.op("Shape", x), build.ints(axis))
        rounded = build.op("Sub", build.op("Add", whole, size), build.ints(1))
        place = build.op("Mod", place, build.op("Div", rounded, size))  # may count from the end
        begin = build.op("Mul", place, size)
        end = build.op("Add", begin, size)
    part = build.op("Slice", x, begin, end, build.ints(axis))
    if sizes is None and not split.attributes.get_int("keepdims", 1):
        return build.op("Squeeze", part, build.ints(axis))
    return part


@decomposes("ConcatFromSequence")
def concat_from_sequence(build: Build, node: ir.Node) -> Sequence[Value]:
    """The elements of a known sequence, joined.  Spec: ONNX ConcatFromSequence-11."""
    axis = node.attributes.get_int("axis")
    parts = elements(build, node.inputs[0])
    if node.attributes.get_int("new_axis", 0):
        parts = [build.op("Unsqueeze", part, build.ints(axis)) for part in parts]
    return [build.op("Concat", *parts, axis=axis)]


@decomposes("SequenceLength")
def sequence_length(build: Build, node: ir.Node) -> Sequence[Value]:
    """How many elements a known sequence has.  Spec: ONNX SequenceLength-11."""
    return [build.constant(len(elements(build, node.inputs[0])))]


@decomposes("OptionalGetElement")
def optional_get_element(build: Build, node: ir.Node) -> Sequence[Value]:
    """What an optional holds, or the tensor or sequence itself.

    Spec: ONNX OptionalGetElement-18.
    """
    optional = node.inputs[0]
    if wrapped := inputs_by(optional, "Optional"):
        return wrapped[:1]
    if optional is not None and isinstance(optional.type, ir.TensorType | ir.SequenceType):
        return [optional]
    raise UnsupportedError("whether its optional holds a tensor is only known at run time")


@decomposes("OptionalHasElement")
def optional_has_element(build: Build, node: ir.Node) -> Sequence[Value]:
    """Whether an optional holds something, where it is made in sight.

    Spec: ONNX OptionalHasElement-18.
    """
    optional = node.inputs[0] if node.inputs else None
    maker = made_by(optional, "Optional")
    if optional is None or maker is not None:
        full = maker is not None and bool(maker.inputs)
    elif isinstance(optional.type, ir.TensorType | ir.SequenceType):
        full = True
    else:
        raise UnsupportedError("whether its optional holds a tensor is only known at run time")
    return [build.constant(full, ir.DataType.BOOL)]
