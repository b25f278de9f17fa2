"""Conditional relevance: a graph input that masks the channels of an inner tensor's relevance.

Concept relevance propagation (Achtibat et al. 2023, From attribution maps to human-understandable
explanations, eq. 4): of the relevance that arrives at a tensor only that of the chosen channels
goes on.  As the walk is linear in relevance, the heatmaps of single channels sum to the whole one.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import CONDITION
from lrp_onnx.graph.appending import graph_input
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank

__all__ = ["channel_axis", "condition_masks"]


def condition_masks(
    emit: Emit, graph: ir.Graph, tensors: Mapping[str, ir.Value]
) -> dict[ir.Value, ir.Value]:
    """Add an input `<tensor>_condition` [N or 1, C] for each; returns what each tensor's relevance
    is multiplied by.

    C is axis 1 of a tensor of rank 2, 4 or 5, the last of rank 3. Raises TargetError for a tensor
    without channels, or named twice.
    """
    masks: dict[ir.Value, ir.Value] = {}
    for name, value in tensors.items():
        if value in masks:
            raise TargetError(
                f"condition {name!r}: another one is for the same tensor, {value.name!r}. Give one "
                "of them."
            )
        emit.write_for(value, f"condition/{name}", "condition")
        masks[value] = _mask(emit, graph, name, value)
    return masks


def _mask(emit: Emit, graph: ir.Graph, name: str, value: ir.Value) -> ir.Value:
    rank = known_rank(value)
    axis = channel_axis(rank)
    if axis is None or value.shape is None:
        raise TargetError(
            f"condition {name!r}: the tensor of shape {value.shape} has no channels. Choose one of "
            "rank 2 or more."
        )
    shape = ir.Shape([None, value.shape[axis]])
    mask_input = graph_input(graph, f"{name}{CONDITION}", ir.DataType.FLOAT, shape)
    others = [k for k in range(1, rank) if k != axis]
    mask = emit.op("Unsqueeze", mask_input, emit.ints(*others)) if others else mask_input
    return mask if emit.dtype == mask_input.dtype else emit.op("Cast", mask, to=int(emit.dtype))


def channel_axis(rank: int) -> int | None:
    """Where a tensor's channels are: axis 1 of rank 2, 4 and 5, else the last; None of rank 1."""
    if rank < 2:
        return None
    return 1 if rank in (2, 4, 5) else rank - 1
