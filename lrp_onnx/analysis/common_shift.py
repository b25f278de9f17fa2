"""Embeddings that a network reads behind a LayerNorm alone, up to sums.

A LayerNorm takes the mean off, so adding one number to all of an embedding changes nothing.  The
gradient of a token is the sum over its embedding, Σ ∂y/∂e, the derivative along that very shift: it
is 0, and what comes out is rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.analysis.step import Step

__all__ = ["ignores_common_shift"]


def ignores_common_shift(on_path: Sequence[Step], ids: ir.Value, target: ir.Value) -> bool:
    """Whether the target stays the same if one number is added to all of any embedding of the ids.

    It is told where the embeddings, moved or added to something, are read by LayerNorms over their
    own axis.
    """
    moved, shifted = {ids}, set[ir.Value]()
    for step in on_path:
        read = step.receivers()
        if not any(v in moved or v in shifted for v in read):
            continue
        y = step.node.outputs[0]
        if any(v in moved for v in read):
            if _looks_up(step):
                shifted.add(y)
            elif step.kind == "move":
                moved.add(y)
            else:
                return False
        elif _adds_or_moves(step, [v for v in read if v in shifted]):
            shifted.update(step.node.outputs)
        elif not _takes_the_mean_off(step):
            return False
    return bool(shifted) and target not in shifted


def _looks_up(step: Step) -> bool:
    """Whether it takes rows of a table by number."""
    axis = step.node.attributes.get_int("axis", 0)
    return step.node.op_type == "Gather" and step.active == (1,) and axis == 0


def _adds_or_moves(step: Step, read: Sequence[ir.Value]) -> bool:
    """Whether a shift of what it reads is one of what it gives: rows stay rows."""
    y, node = step.node.outputs[0], step.node
    if not step.op.adds and (step.kind != "move" or step.bodies):
        return False
    if node.op_type == "Transpose":
        perm = node.attributes.get_ints("perm", ())
        return bool(perm) and perm[-1] == len(perm) - 1
    last = {_last(v) for v in (*read, y)}
    return len(last) == 1 and last.pop() > 1 and not _over_rows(step)


def _over_rows(step: Step) -> bool:
    """Whether it joins or selects within rows."""
    axis = step.node.attributes.get("axis")
    rank = len(step.node.outputs[0].shape or ())
    return axis is not None and axis.as_int() in (-1, rank - 1) and step.node.op_type != "Gather"


def _last(value: ir.Value) -> int:
    """The size of the last axis; 0 where it is unknown."""
    size = value.shape[-1] if value.shape is not None and len(value.shape) else 0
    return size if isinstance(size, int) else 0


def _takes_the_mean_off(step: Step) -> bool:
    """Whether it is a LayerNorm over the last axis."""
    x, node = step.node.inputs[0], step.node
    rank = len(x.shape) if x is not None and x.shape is not None else 0
    axis = node.attributes.get_int("axis", -1)
    return node.op_type == "LayerNormalization" and axis in (-1, rank - 1)
