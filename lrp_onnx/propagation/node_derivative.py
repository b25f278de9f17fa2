"""What every form of a rule needs of its node: derivative, shapes, the values of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.arithmetic import Operand, express
from lrp_onnx.graph.broadcasting import sum_to
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.expression import parse
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.ops.registry import Op

__all__ = ["alone", "numbers", "vjp"]


def vjp(
    emit: Emit,
    op: Op,
    node: ir.Node,
    arriving: Sequence[ir.Value | None],
    i: int,
    w: Input = None,
    detached: bool = False,
) -> ir.Value:
    """The vector-Jacobian product with respect to input `i`, in its shape; `w` replaces a linear
    node's weight, and with `detached` what the node divides by is a constant.
    """
    if op.vjp is None:
        raise RuleError("the operator has no vector-Jacobian product")
    product = partial(op.vjp, detached=True) if detached and op.detached else op.vjp
    s = arriving if op.outputs == "all" else arriving[0]
    if op.weighted:
        w = node.inputs[1 - i] if w is None else w
        return emit.shaped(product(emit, node, s, i, w), node.inputs[i])
    x = node.inputs[i]
    c = product(emit, node, s, i)
    if op.broadcasts and x is not None and not alone(node, i):
        c = sum_to(emit, c, x, node.outputs[0])
    return emit.shaped(c, x)


def alone(node: ir.Node, i: int) -> bool:
    """Whether the other inputs are scalars, so that the output has the shape of input `i`, known
    or not.
    """
    others = (v for k, v in enumerate(node.inputs) if k != i and v is not None)
    return all(static_shape(v) == () for v in others)


def numbers(emit: Emit, site: Assigned, z: ir.Value) -> dict[str, Operand]:
    """The parameters that are one value; those per channel come with the input
    (`_modified_input`).
    """
    values: dict[str, Operand] = {}
    for name, setting in site.settings.items():
        if isinstance(setting, str):
            values[name] = express(emit, parse(setting, frozenset("z")), {"z": z})
        elif isinstance(setting, float):
            values[name] = _in_dtype(emit, name, setting)
    return values


def _in_dtype(emit: Emit, name: str, number: float) -> float:
    """The number, or 0 where it is so small that the dtype of the relevance has only 0 for it."""
    with np.errstate(over="ignore"):
        rounded = np.array(number).astype(emit.dtype.numpy())
    if not np.isfinite(rounded):
        raise RuleError(f"parameter {name!r} is {number:g}, too large for {emit.dtype}. Give less")
    return number if rounded else 0.0
