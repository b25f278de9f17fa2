"""How many axes a tensor has, where that must be known."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.names import tensor_name

__all__ = ["known_rank"]


def known_rank(value: ir.Value) -> int:
    """The rank; UnsupportedError if shape inference did not find it."""
    if value.shape is None:
        raise UnsupportedError(
            f"the rank of tensor {tensor_name(value)!r} is unknown. Export the model with input "
            "shapes"
        )
    return len(value.shape)
