"""Shapes of emitted nodes, as far as they follow from those of the operands: elementwise operators,
and what moves or sums whole axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import onnx_ir as ir

from lrp_onnx.graph.arrays import Dimension
from lrp_onnx.graph.constant_values import constant_ints

__all__ = [
    "broadcast",
    "dimension_of",
    "dimensions",
    "infer",
    "inferred",
    "of_forward",
    "same_sizes",
    "sizes_of",
    "static_shape",
    "type_of",
]

Size = int | ir.SymbolicDim | None
Operands = Sequence[ir.Value | None]

ELEMENTWISE = frozenset({
    "Abs", "Add", "And", "Cast", "Clip", "Cos", "Div", "Equal", "Erf", "Exp", "Greater",
    "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less", "LessOrEqual", "Log", "Max", "Min",
    "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign",
    "Sin", "Softmax", "Softplus", "Sqrt", "Sub", "Tanh", "Where", "Xor",
})  # fmt: skip
"""Operators whose result has the shape to which their operands broadcast."""
TRUTH = frozenset(
    {"And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not",
     "Or", "Xor"}
)  # fmt: skip
INTEGER = frozenset({"ArgMax", "ArgMin", "NonZero", "Shape", "Size"})


def static_shape(value: ir.Value) -> tuple[int, ...] | None:
    """The shape if every dimension is a number, else None."""
    if value.shape is None or not all(isinstance(d, int) for d in value.shape):
        return None
    return tuple(int(d) for d in value.shape if isinstance(d, int))


def same_sizes(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two tensors are known to have one shape, of sizes with numbers or names."""
    if a is None or b is None or a.shape is None or a.shape != b.shape:
        return False
    return all(isinstance(size, int) or size.value is not None for size in a.shape)


def type_of(
    op_type: str, operands: Operands, attributes: Mapping[str, Any]
) -> ir.TypeProtocol | None:
    """The type of the node's first output: that of its first operand unless the operator says
    otherwise.
    """
    if op_type in TRUTH:
        return ir.TensorType(ir.DataType.BOOL)
    if op_type in INTEGER:
        return ir.TensorType(ir.DataType.INT64)
    if op_type == "Cast":
        to = attributes["to"]
        return ir.TensorType(ir.DataType(to.as_int() if isinstance(to, ir.Attr) else to))
    at = {"Where": 1, "OneHot": 2, "If": -1, "Loop": -1, "Scan": -1}.get(op_type, 0)
    source = operands[at] if 0 <= at < len(operands) else None
    return None if source is None else source.type


def of_forward(node: ir.Node, operands: Operands) -> ir.Shape | None:
    """The shape of a copy of the node that reads other operands, of which a constant one may stand
    for all samples, and a kernel have other output channels.
    """
    y, x, new = node.outputs[0].shape, node.inputs[0], operands[0]
    if y is None:
        return None
    sizes, own = list(y), x.shape if x is not None else None
    alone = new.shape if new is not None else None
    if sizes and own is not None and alone is not None and len(own) == len(alone):
        sizes[0] = 1 if alone[0] == 1 != own[0] else sizes[0]
    w = operands[1] if node.op_type == "Conv" else None
    if w is not None and w.shape is not None:
        sizes[1] = w.shape[0]
    return ir.Shape(sizes)


def inferred(op_type: str, operands: Operands, attributes: Mapping[str, Any]) -> ir.Shape | None:
    """The shape of the node's first output; None where it does not follow from the operands'."""
    if op_type in ELEMENTWISE:
        return broadcast(operands)
    rule = BY_OPERATOR.get(op_type)
    if rule is None or not operands or operands[0] is None or operands[0].shape is None:
        return None
    plain = {k: a.value if isinstance(a, ir.Attr) else a for k, a in attributes.items()}
    sizes = rule(list(operands[0].shape), operands, plain)
    return None if sizes is None else ir.Shape(sizes)


def infer(node: ir.Node, attributes: Mapping[str, Any]) -> None:
    """Give the node's first output type and shape, where the shape follows from the operands'."""
    if node.op_type in ELEMENTWISE or node.op_type in BY_OPERATOR:
        y = node.outputs[0]
        y.type = type_of(node.op_type, node.inputs, attributes)
        y.shape = inferred(node.op_type, node.inputs, attributes)


def broadcast(operands: Operands) -> ir.Shape | None:
    """The shape to which all operands that are there broadcast.

    Spec: ONNX, multidirectional broadcasting.
    """
    shapes = [v.shape for v in operands if v is not None]
    if not shapes or any(shape is None for shape in shapes):
        return None
    first, *others = known = [shape for shape in shapes if shape is not None]
    if all(shape == first for shape in others):
        return first
    turned = zip_longest(*([*shape][::-1] for shape in known), fillvalue=1)
    return ir.Shape([_common(sizes) for sizes in turned][::-1])


def _common(sizes: Sequence[Size]) -> Size:
    """The size of an axis along which all of these broadcast."""
    others = [size for size in sizes if size != 1]
    numbers = [size for size in others if isinstance(size, int)]
    if numbers or not others:
        return numbers[0] if numbers else 1
    first, *rest = others
    named = isinstance(first, ir.SymbolicDim) and first.value is not None
    return first if named and all(size == first for size in rest) else None


def _transposed(x: list[Size], operands: Operands, attributes: Mapping[str, Any]) -> list[Size]:
    return [x[k] for k in attributes.get("perm", range(len(x))[::-1])]


def _reduced(x: list[Size], operands: Operands, attributes: Mapping[str, Any]) -> list[Size] | None:
    axes = range(len(x)) if len(operands) < 2 else constant_ints(operands[1])
    if axes is None or attributes.get("noop_with_empty_axes"):
        return None
    gone = {axis % len(x) for axis in axes}
    if attributes.get("keepdims", 1):
        return [1 if axis in gone else size for axis, size in enumerate(x)]
    return [size for axis, size in enumerate(x) if axis not in gone]


def _reshaped(
    x: list[Size], operands: Operands, attributes: Mapping[str, Any]
) -> list[Size] | None:
    target = constant_ints(operands[1])
    if target is None:
        return None
    copied = not attributes.get("allowzero")
    if 0 in target and copied and len(target) > len(x):
        return None
    sizes = [x[k] if n == 0 and copied else n for k, n in enumerate(target)]
    return [None if n == -1 else n for n in sizes]


def _unsqueezed(
    x: list[Size], operands: Operands, attributes: Mapping[str, Any]
) -> list[Size] | None:
    axes = constant_ints(operands[1])
    if axes is None:
        return None
    ones, left = {axis % (len(x) + len(axes)) for axis in axes}, iter(x)
    return [1 if k in ones else next(left) for k in range(len(x) + len(axes))]


def _joined(x: list[Size], operands: Operands, attributes: Mapping[str, Any]) -> list[Size] | None:
    axis, shapes = attributes["axis"] % len(x), [v.shape for v in operands if v is not None]
    sizes = [None if shape is None else shape[axis] for shape in shapes]
    numbers = [size for size in sizes if isinstance(size, int)]
    return [*x[:axis], sum(numbers) if len(numbers) == len(sizes) else None, *x[axis + 1 :]]


def _counted(x: list[Size], operands: Operands, attributes: Mapping[str, Any]) -> list[Size]:
    return [len(x[attributes.get("start", 0) : attributes.get("end")])]


def _sliced(x: list[Size], operands: Operands, attributes: Mapping[str, Any]) -> list[Size] | None:
    starts, ends, axes, steps = [*map(constant_ints, operands[1:]), None, None][:4]
    if starts is None or ends is None or (len(operands) > 3 and axes is None):
        return None
    axes, steps = axes or [*range(len(starts))], steps or [1] * len(starts)
    sizes = list(x)
    for axis, *ends_and_step in zip(axes, starts, ends, steps, strict=True):
        size = x[axis]
        sizes[axis] = len(range(size)[slice(*ends_and_step)]) if isinstance(size, int) else None
    return sizes


BY_OPERATOR: dict[str, Callable[[list[Size], Operands, Mapping[str, Any]], list[Size] | None]] = {
    "Concat": _joined,
    "ReduceMax": _reduced,
    "ReduceMean": _reduced,
    "ReduceSum": _reduced,
    "Reshape": _reshaped,
    "Shape": _counted,
    "Slice": _sliced,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}
"""The sizes of the result, from those of the first operand, all operands and the attributes."""


def dimension_of(size: int | ir.SymbolicDimProtocol) -> Dimension:
    """A size as a number or a name; None where nothing is known."""
    return size if isinstance(size, int) else size.value


def dimensions(shape: Iterable[int | ir.SymbolicDimProtocol] | None) -> list[Dimension]:
    """The sizes of a shape; none of an unknown one."""
    return [dimension_of(size) for size in shape or ()]


def sizes_of(value: ir.Value) -> list[Dimension] | None:
    """The sizes of a tensor; None for an unknown rank."""
    return None if value.shape is None else dimensions(value.shape)
