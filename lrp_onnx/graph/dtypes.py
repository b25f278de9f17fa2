"""Whether a tensor holds floats or whole numbers, as far as its type is known."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["is_float", "is_integer"]


def is_float(value: ir.Value | None) -> bool:
    """Whether its elements are known to be floats."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def is_integer(value: ir.Value | None) -> bool:
    """Whether its elements are known to be whole numbers."""
    return value is not None and value.dtype is not None and value.dtype.is_integer()
