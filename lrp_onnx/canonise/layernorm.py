"""Layer normalisation spelled out becomes LayerNormalization.

With the mean m and the variance v of x over its last axes and r = 1/√(v + ε), the spellings are

    (x - m)/√(v + ε),    (x - m)·r,    (x - m)·(r·scale),    x·(r·scale) + (shift - m·(r·scale)),

where v is the mean of (x - m)², and √, ² and 1/√ are what the exporter had for them.  A scale and
then a shift behind belong to the norm where they vary along its axes alone.  The forward takes the
same steps inside one operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from lrp_onnx.constant import Float, array_of, new_constant, sole_reader

__all__ = ["layer_normalizations"]

Input = ir.Value | None


@dataclass(frozen=True)
class _Norm:
    """What a value is made of: x, how many last axes its statistics are over, ε, and a scale."""

    x: ir.Value
    axes: int
    epsilon: float = 0.0
    scale: Float | None = None
    shift: Float | None = None


def layer_normalizations(model: ir.Model) -> None:
    """(x - mean)/√(variance + ε)·scale + shift, in several spellings, becomes one node."""
    for node in list(model.graph):
        norm = None if node.graph is None else _normalised(node)
        if norm is not None and _sizes(norm) is not None:
            _become(model.graph, *_with_affine(node, norm))


def _normalised(node: ir.Node) -> _Norm | None:
    """What the node normalises, if that is what it does."""
    if len(node.inputs) != 2:
        return None
    if node.op_type in ("Add", "Sub"):
        return _spread_out(node)
    for a, b in _pairs(node):
        centred = _centred(a)
        norm = _slope(b) if node.op_type == "Mul" else _deviation(b)
        if centred is not None and norm is not None and _same(centred, norm):
            return norm
    return None


def _spread_out(node: ir.Node) -> _Norm | None:
    """x·slope + (shift - mean·slope), or x·slope - mean·slope."""
    for a, b in _pairs(node):
        shift: Float | None = None
        if node.op_type == "Add":
            difference = _made_by(b, "Sub")
            shift = None if difference is None else array_of(difference.inputs[0])
            if difference is None or shift is None:
                continue
            b = difference.inputs[1]
        norm, of_mean = _times_slope(a), _times_slope(b)
        if norm is None or of_mean is None or norm[2] is not of_mean[2]:
            continue
        (x, found, _), mean = norm, _mean(of_mean[0])
        if x is found.x and mean is not None and _same(_Norm(*mean), found):
            return replace(found, shift=shift)
    return None


def _times_slope(value: Input) -> tuple[Input, _Norm, Input] | None:
    """What is multiplied with a slope, the norm, and the slope's own value."""
    node = _made_by(value, "Mul")
    for a, b in () if node is None else _pairs(node):
        norm = _slope(b)
        if norm is not None:
            return a, norm, b
    return None


def _slope(value: Input) -> _Norm | None:
    """1/√(variance + ε), perhaps times a scale."""
    inverse = _inverse(value)
    node = _made_by(value, "Mul")
    if inverse is not None or node is None:
        return inverse
    for a, b in _pairs(node):
        inverse, scale = _inverse(a), array_of(b)
        if inverse is not None and scale is not None:
            return replace(inverse, scale=scale)
    return None


def _inverse(value: Input) -> _Norm | None:
    """1/√(variance + ε)."""
    node = None if value is None else value.producer()
    if node is None:
        return None
    if node.op_type == "Reciprocal":
        return _deviation(node.inputs[0])
    if node.op_type == "Div" and _number(node.inputs[0]) == 1:
        return _deviation(node.inputs[1])
    return _shifted(node.inputs[0]) if _is_power(node, -0.5) else None


def _deviation(value: Input) -> _Norm | None:
    """√(variance + ε)."""
    node = None if value is None else value.producer()
    if node is not None and (node.op_type == "Sqrt" or _is_power(node, 0.5)):
        return _shifted(node.inputs[0])
    return None


def _shifted(value: Input) -> _Norm | None:
    """variance + ε."""
    node = _made_by(value, "Add")
    for a, b in () if node is None else _pairs(node):
        mean, epsilon = _mean(a), _number(b)
        centred = None if mean is None else _centred(_squared(mean[0]))
        if mean is not None and centred is not None and epsilon is not None:
            return replace(centred, epsilon=epsilon) if centred.axes == mean[1] else None
    return None


def _squared(value: Input) -> Input:
    """What the value is the square of."""
    node = None if value is None else value.producer()
    if node is None or _is_power(node, 2):
        return None if node is None else node.inputs[0]
    if node.op_type != "Mul":
        return None
    a, b = (_centred(v) for v in node.inputs)
    return node.inputs[0] if a is not None and a == b else None


def _centred(value: Input) -> _Norm | None:
    """x - mean(x)."""
    node = _made_by(value, "Sub")
    mean = None if node is None else _mean(node.inputs[1])
    if node is None or mean is None or node.inputs[0] is not mean[0]:
        return None
    return _Norm(*mean)


def _mean(value: Input) -> tuple[ir.Value, int] | None:
    """What the value is the mean of, and over how many last axes, kept as size 1."""
    node = _made_by(value, "ReduceMean")
    if node is None or (x := node.inputs[0]) is None or x.shape is None or len(node.inputs) < 2:
        return None
    keeps = node.attributes.get("keepdims")
    axes = None if node.inputs[1] is None else node.inputs[1].const_value
    if axes is None or (keeps is not None and not keeps.as_int()):
        return None
    rank = len(x.shape)
    found = sorted(int(axis) % rank for axis in axes.numpy().reshape(-1))
    return (x, len(found)) if found and found == list(range(rank))[-len(found) :] else None


def _pairs(node: ir.Node) -> Iterator[tuple[Input, Input]]:
    """The two operands, in both orders where that makes no difference."""
    yield node.inputs[0], node.inputs[1]
    if node.op_type in ("Add", "Mul"):
        yield node.inputs[1], node.inputs[0]


def _made_by(value: Input, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and not node.domain else None


def _is_power(node: ir.Node, exponent: float) -> bool:
    return node.op_type == "Pow" and _number(node.inputs[1]) == exponent


def _number(value: Input) -> float | None:
    array = array_of(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _same(a: _Norm, b: _Norm) -> bool:
    return a.x is b.x and a.axes == b.axes


def _sizes(norm: _Norm) -> list[int] | None:
    """The sizes of the norm's axes; None where they are unknown, or the scale does not fit."""
    assert norm.x.shape is not None
    sizes = list(norm.x.shape)[-norm.axes :]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes):
        return None
    fits = all(_fits(array, known) for array in (norm.scale, norm.shift) if array is not None)
    return known if fits else None


def _fits(array: Float, sizes: list[int]) -> bool:
    """Whether the array broadcasts to the sizes, and not beyond them."""
    shape = array.shape[::-1]
    inside = all(n in (1, size) for n, size in zip(shape, sizes[::-1], strict=False))
    return inside and all(n == 1 for n in shape[len(sizes) :])


def _with_affine(node: ir.Node, norm: _Norm) -> tuple[ir.Node, _Norm]:
    """The last node that belongs to the norm, with the scale and the shift behind it."""
    if norm.shift is None:
        node, scale = _behind(node, "Mul", norm) if norm.scale is None else (node, norm.scale)
        node, shift = _behind(node, "Add", norm)
        return node, replace(norm, scale=scale, shift=shift)
    return node, norm


def _behind(node: ir.Node, op_type: str, norm: _Norm) -> tuple[ir.Node, Float | None]:
    """The only reader of the node and its constant, if it is of that type and that fits."""
    reader = sole_reader(node.outputs[0])
    if reader is not None and reader[0].op_type == op_type and not reader[0].domain:
        array, sizes = array_of(reader[0].inputs[1 - reader[1]]), _sizes(norm)
        if array is not None and sizes is not None and _fits(array, sizes):
            return reader[0], array
    return node, None


def _become(graph: ir.Graph, node: ir.Node, norm: _Norm) -> None:
    """The node, whatever it was, computes the norm."""
    sizes, dtype = _sizes(norm), norm.x.dtype or ir.DataType.FLOAT
    assert sizes is not None
    parts = {"scale": np.ones(1) if norm.scale is None else norm.scale}
    if norm.shift is not None:
        parts["bias"] = norm.shift
    node.resize_inputs(1 + len(parts))
    node.replace_input_with(0, norm.x)
    for k, (name, array) in enumerate(parts.items(), start=1):
        array = array.reshape(array.shape[max(0, array.ndim - len(sizes)) :])
        whole = np.broadcast_to(array, sizes)
        node.replace_input_with(k, new_constant(graph, f"{node.name}/{name}", whole, dtype))
    node.op_type = "LayerNormalization"
    node.attributes.clear()
    node.attributes["axis"] = ir.AttrInt64("axis", -norm.axes)
    node.attributes["epsilon"] = ir.AttrFloat32("epsilon", norm.epsilon)
