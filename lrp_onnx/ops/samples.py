"""Whether an operator keeps the samples along axis 0 apart: what several records declare.

Each is asked about a node and those of its inputs that hold samples along axis 0; that the output
holds them along axis 0, and along no other axis, is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

__all__ = ["along", "by_shape", "rank_of", "same_rank"]


def by_shape(node: ir.Node, inputs: Sequence[int]) -> bool:
    """It mixes along no axis that it keeps: they are apart where its first input holds them."""
    return inputs[0] == 0


def same_rank(node: ir.Node, inputs: Sequence[int]) -> bool:
    """Elementwise: they are apart unless axis 0 of an input meets another axis."""
    return {rank_of(node.inputs[i]) for i in inputs} == {rank_of(node.outputs[0])}


def along(default: int) -> Callable[[ir.Node, Sequence[int]], bool]:
    """It mixes along its attribute `axis` alone."""

    def apart(node: ir.Node, inputs: Sequence[int]) -> bool:
        axis = node.attributes.get_int("axis", default)
        return 0 not in (axis, axis + max(rank_of(node.inputs[i]) for i in inputs))

    return apart


def rank_of(value: ir.Value | None) -> int:
    """The rank, 0 where it is not known."""
    return 0 if value is None or value.shape is None else len(value.shape)
