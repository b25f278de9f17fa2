"""What constants hold, whatever their type."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

__all__ = ["constant_array", "constant_ints", "is_number", "is_zero"]


def constant_array(value: ir.Value | None) -> NDArray[Any] | None:
    """The elements of a constant; None for what the run computes or what is left out."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def is_zero(value: ir.Value | None) -> bool:
    """Whether it is known to be 0 everywhere."""
    array = constant_array(value)
    return array is not None and not array.any()


def constant_ints(value: ir.Value | None) -> list[int] | None:
    """The integers of a constant tensor, flattened; None where they are not known."""
    array = constant_array(value)
    return None if array is None else [int(v) for v in array.ravel()]


def is_number(value: ir.Value | None, number: float, spread: bool = False) -> bool:
    """Whether it is a constant of one element, that number; if spread, of any number of them."""
    tensor = None if value is None else value.const_value
    if tensor is None or not (spread or tensor.size == 1):
        return False
    return bool((tensor.numpy() == number).all())
