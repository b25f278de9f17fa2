"""Whether axis 0 of an output counts the samples of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.shapes import sizes_of

__all__ = ["counts_samples"]


def counts_samples(output: ir.Value, inputs: Sequence[ir.Value]) -> bool | None:
    """Whether axis 0 has the size of an input's axis 0; None where sizes do not tell.

    inputs: the model's, without its weights.
    """
    own = (sizes_of(output) or [None])[0]
    others = [(sizes_of(value) or [None])[0] for value in inputs]
    if own is not None and own in others:
        return True
    known = isinstance(own, int) and all(isinstance(size, int) for size in others)
    return False if known else None
