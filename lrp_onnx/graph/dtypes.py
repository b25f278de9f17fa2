"""Whether a tensor holds floats or whole numbers, as far as its type is known; and texts."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["OF_TEXTS", "is_float", "is_integer"]

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
