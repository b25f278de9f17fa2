"""Einsum of two operands, each label of which the other or the result has too.

`expand.einsum` brings every Einsum into this form.  Then the vector-Jacobian product with respect
to one operand is again an Einsum: of s and the other, with the labels of the first as its result.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.attributes import einsum_labels
from lrp_onnx.graph.broadcasting import sum_to
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.registry import op, refuse

__all__: list[str] = []


def _labels(node: ir.Node) -> tuple[str, str, str]:
    """The labels of both operands and of the result."""
    (a, b), result = einsum_labels(node)
    return a, b, result


def _linear_or_bilinear(node: ir.Node, active: tuple[int, ...]) -> str:
    if len(node.inputs) != 2 or "." in node.attributes.get_string("equation", ""):
        raise refuse("the ranks of its operands are unknown. Export the model with input shapes")
    return "bilinear" if len(active) > 1 else "linear"


def _contracted(node: ir.Node, i: int) -> int:
    """The first axis of operand i that the result lacks."""
    labels, result = _labels(node)[i], _labels(node)[2]
    return next((k for k, label in enumerate(labels) if label not in result), 0)


@op(
    "Einsum",
    kind=("linear", "bilinear"),
    choose=_linear_or_bilinear,
    inputs=(0, 1),
    weighted=True,
    channel_axis=_contracted,
)
def einsum(emit: Emit, node: ir.Node, s: ir.Value, i: int, w: ir.Value) -> ir.Value:
    """The Einsum of s and the other operand, summed where operand i was broadcast.

    s: shaped like the result    w: the other operand    ->    c: shaped like operand i.
    Spec: ONNX Einsum-12.
    """
    labels, x = _labels(node), operand(node, i)
    own, other, result = labels[i], labels[1 - i], labels[2]
    c = emit.op("Einsum", s, w, equation=f"{result},{other}->{own}")
    sizes, others = _sizes(x, own), _sizes(w, other)
    unequal = [k for k in own if k in others and not _same(sizes[k], others[k])]
    if not unequal:
        return c
    emit.shaped(c, [None if label in unequal else sizes[label] for label in own])
    return sum_to(emit, c, x, c)


def _same(m: int | ir.SymbolicDim, n: int | ir.SymbolicDim) -> bool:
    """Whether two sizes are known to be the same."""
    return m == n and (isinstance(m, int) or m.value is not None)


def _sizes(value: ir.Value, labels: str) -> dict[str, int | ir.SymbolicDim]:
    """The size of each label, as far as it is known."""
    known_rank(value)
    assert value.shape is not None
    return dict(zip(labels, value.shape, strict=True))
