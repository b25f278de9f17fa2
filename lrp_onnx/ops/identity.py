"""Operators that hand their elements on where they are: Identity, Dropout, Cast, Where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import is_zero
from lrp_onnx.graph.dtypes import compute_dtype
from lrp_onnx.ops.bounds import chosen_range, same_sign
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import find, op, refuse

__all__: list[str] = []


@op("Identity", kind="move", elementwise=True, moves="reorders", multiplies=(0,), folds=False)
def identity(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s.  Spec: ONNX Identity-16."""
    return s


def _inactive(node: ir.Node, active: tuple[int, ...]) -> str:
    _, ratio, training = [*node.inputs, None, None][:3]
    drops_none = ratio is not None and is_zero(ratio)
    if 0 not in active or drops_none or training is None or is_zero(training):
        return "move"
    raise refuse("it may be in training mode. Export the model for inference")


@op(
    "Dropout",
    kind="move",
    choose=_inactive,
    gates=(1, 2),
    elementwise=True,
    multiplies=(0,),
    sign=same_sign,
)
def dropout(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s, at inference.  Spec: ONNX Dropout-13."""
    return s


def _of_numbers(node: ir.Node, active: tuple[int, ...]) -> str:
    """What becomes an integer or a truth value has no derivative; integers (ids) stay what they are
    in other integers, and so do ids that an input gives as floats.
    """
    x, to = node.inputs[0], node.attributes.get("to")
    dtype = node.outputs[0].dtype if to is None else ir.DataType(to.as_int())
    if x is None or dtype is None:
        return "none"
    integers = x.dtype is not None and x.dtype.is_integer() and dtype.is_integer()
    ids = dtype.is_integer() and _from_input(x) and _names_rows(node.outputs[0])
    return "move" if integers or ids or dtype.is_floating_point() else "none"


def _from_input(value: ir.Value | None) -> bool:
    """Whether it is an input of the graph, moved or not."""
    while value is not None and (node := value.producer()) is not None:
        operator = find(node)
        if operator is None or operator.moves not in ("reorders", "selects"):
            return False
        value = node.inputs[0]
    return value is not None and value.is_graph_input()


def _names_rows(ids: ir.Value) -> bool:
    """Whether they index a table of constants, moved before or not."""
    pending = [ids]
    while pending:
        for node, position in pending.pop().uses():
            operator, table = find(node), node.inputs[0]
            if node.op_type == "Gather" and position == 1:
                return table is not None and table.is_initializer()
            if operator is not None and operator.moves in ("reorders", "selects") and not position:
                pending.append(node.outputs[0])
    return False


def _sign_of_cast(node: ir.Node, of: Sequence[int]) -> int:
    """That of floats; +1 of truth values and unsigned integers."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.dtype is None or y.dtype is None or not y.dtype.is_floating_point():
        return 0
    unsigned = x.dtype == ir.DataType.BOOL or (x.dtype.is_integer() and not x.dtype.is_signed())
    return 1 if unsigned else of[0]


CAST: dict[str, Any] = {"kind": ("move", "none"), "choose": _of_numbers, "elementwise": True}


@op("Cast", **CAST, multiplies=(0,), sign=_sign_of_cast, folds=True)
@op("CastLike", **CAST, gates=(1,))
def cast(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s in the dtype that the relevance of x is computed in.  Spec: ONNX Cast-19, CastLike-19."""
    x = operand(node)
    dtype = compute_dtype(x.dtype)
    return s if dtype == emit.dtype else emit.op("Cast", s, to=int(dtype))


@op(
    "Where",
    kind="move",
    inputs=(1, 2),
    gates=(0,),
    broadcasts=True,
    range=chosen_range,
    folds=True,
)
def where(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s where the input was chosen.  Spec: ONNX Where-16."""
    chosen, other = (s, 0.0) if i == 1 else (0.0, s)
    return emit.op("Where", node.inputs[0], chosen, other)
