"""Element types: whether a tensor holds floats, whole numbers or texts; that of relevance."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["HALF", "OF_TEXTS", "compute_dtype", "is_float", "is_integer"]

HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

OF_TEXTS = (
    "the model takes texts as they are and makes numbers of them itself, such as counts of words, "
    "which no relevance goes through. Export what stands behind that step (of a scikit-learn "
    "pipeline, pipe[1:]) and give it the numbers, as a row of a table."
)
"""What is said of a model whose inputs are strings."""


def is_float(value: ir.Value | None) -> bool:
    """Whether its elements are known to be floats."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def is_integer(value: ir.Value | None) -> bool:
    """Whether its elements are known to be whole numbers."""
    return value is not None and value.dtype is not None and value.dtype.is_integer()


def compute_dtype(dtype: ir.DataType | None) -> ir.DataType:
    """The element type in which the relevance of a tensor is computed: float64 for float64, else
    float32.
    """
    return ir.DataType.DOUBLE if dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
