"""A clipped line between 0 and 1 is a HardSigmoid.

    s₂·clip(s₁·x + t₁, l, h) + t₂ = clip(α·x + β, 0, 1),    α = s₁·s₂, β = s₂·t₁ + t₂,

where s₂·l + t₂ = 0, s₂·h + t₂ = 1 and β is not 0.  The numbers belong to the function: t₁ is no
bias of the layer in front of it, which would take a share of relevance.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.constants import array_of, sole_reader
from lrp_onnx.graph.replacement import Build

__all__ = ["hard_sigmoids"]

Line = tuple[float, float]
"""Slope and offset."""
LONGEST = 4
"""As many numbers in a row are looked at."""
CLOSE = 1e-6


def hard_sigmoids(model: ir.Model) -> bool:
    """Write such as HardSigmoid."""
    return sum(_written(model.graph, node) for node in list(model.graph)) > 0


def _written(graph: ir.Graph, node: ir.Node) -> bool:
    if node.graph is not graph:
        return False
    lower, upper, clipped = _bounds(node)
    if lower is None or upper is None or clipped is None:
        return False
    (x, (s1, t1)), (y, (s2, t2)) = _before(clipped), _behind(node.outputs[0])
    alpha, beta = s1 * s2, s2 * t1 + t2
    unit = abs(s2 * lower + t2) < CLOSE and abs(s2 * upper + t2 - 1) < CLOSE
    last = y.producer()
    if not unit or abs(beta) < CLOSE or alpha <= 0 or last is None or x.shape != y.shape:
        return False
    build = Build(graph, last, "hard_sigmoid")
    build.replace(build.op("HardSigmoid", x, alpha=alpha, beta=beta, like=y, named=last.name))
    return True


def _bounds(node: ir.Node) -> tuple[float | None, float | None, ir.Value | None]:
    """Between which numbers a node keeps a value, and this value: by Clip, or Min and Max."""
    nothing = None, None, None
    if node.domain or node.op_type not in ("Clip", "Min", "Max"):
        return nothing
    if node.op_type == "Clip":
        lower, upper = (_number(v) for v in (*node.inputs[1:], None, None)[:2])
        return lower, upper, node.inputs[0]
    bound, inner = _number_and_rest(node)
    before = None if inner is None or sole_reader(inner) is None else inner.producer()
    if bound is None or before is None or before.domain:
        return nothing
    other = "Max" if node.op_type == "Min" else "Min"
    if before.op_type == "Relu" and other == "Max":
        return 0.0, bound, before.inputs[0]
    second, x = _number_and_rest(before) if before.op_type == other else (None, None)
    ends = sorted([bound, second]) if second is not None else [None, None]
    return ends[0], ends[1], x


def _number_and_rest(node: ir.Node) -> tuple[float | None, ir.Value | None]:
    """The constant of two operands, and the other one."""
    for k in (0, 1) if len(node.inputs) == 2 else ():
        number = _number(node.inputs[1 - k])
        if number is not None:
            return number, node.inputs[k]
    return None, None


def _number(value: ir.Value | None) -> float | None:
    array = array_of(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _step(node: ir.Node, x: ir.Value) -> Line | None:
    """What a node does to x with a number."""
    if node.domain or node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    number, rest = _number_and_rest(node)
    if number is None or rest is not x:
        return None
    if node.op_type == "Mul":
        return number, 0.0
    if node.op_type == "Add":
        return 1.0, number
    if node.inputs[0] is not x or not (number or node.op_type == "Sub"):
        return None
    return (1.0, -number) if node.op_type == "Sub" else (1 / number, 0.0)


def _before(value: ir.Value) -> tuple[ir.Value, Line]:
    """What a value is a line over, and this line."""
    slope, offset = 1.0, 0.0
    for _ in range(LONGEST):
        node = value.producer()
        _, x = _number_and_rest(node) if node is not None else (None, None)
        step = None if node is None or x is None else _step(node, x)
        if step is None or x is None or sole_reader(value) is None:
            break
        slope, offset = slope * step[0], slope * step[1] + offset
        value = x
    return value, (slope, offset)


def _behind(value: ir.Value) -> tuple[ir.Value, Line]:
    """The last of the numbers behind a value after which it is between 0 and 1, and the line."""
    slope, offset = 1.0, 0.0
    for _ in range(LONGEST):
        reader, _ = sole_reader(value) or (None, 0)
        step = None if reader is None else _step(reader, value)
        if reader is None or step is None:
            break
        slope, offset = slope * step[0], offset * step[0] + step[1]
        value = reader.outputs[0]
    return value, (slope, offset)
