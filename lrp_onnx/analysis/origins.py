"""Where numbers of a tensor come from: the tensors that compute them, and what kind they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

__all__ = [
    "MOST_ORIGINS",
    "Kind",
    "Origin",
    "Origins",
    "UnknownSize",
    "beside",
    "depends",
    "merged_along",
    "size_along",
]

Origins = NDArray[Any]
"""A Origin at each index along the axes that were asked for."""
MOST_ORIGINS = 1 << 16


class Kind(Enum):
    """What a number is."""

    SCORE = "score"
    NUMBER = "number"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Origin:
    """The tensors that compute a number, one for each place of the other axes that differs."""

    kind: Kind
    tensors: frozenset[ir.Value]

    def beside(self, other: Origin) -> Origin:
        """What stands at an index where one place has this origin and another the other."""
        if self == other or other.kind is Kind.NOTHING:
            return self
        if self.kind is Kind.NOTHING:
            return other
        kind = self.kind if self.kind is other.kind else Kind.NUMBER
        return Origin(kind, self.tensors | other.tensors)


class UnknownSize(Exception):
    """The axis cannot be followed."""


def depends(value: ir.Value) -> bool:
    """Whether it is a float that is neither a constant nor made of integers alone."""
    if value.dtype is not None and not value.dtype.is_floating_point():
        return False
    node = value.producer()
    while node is not None and node.op_type in ("Cast", "Identity") and node.inputs[0] is not None:
        value = node.inputs[0]
        if value.dtype is not None and not value.dtype.is_floating_point():
            return False
        node = value.producer()
    if node is None:
        return not value.is_initializer() and value.const_value is None
    return node.op_type not in ("ConstantOfShape", "Constant", "Range")


def size_along(value: ir.Value, axis: int) -> int:
    """The size of an axis. Raises UnknownSize where it is open."""
    size = None if value.shape is None else value.shape[axis]
    if not isinstance(size, int):
        raise UnknownSize
    return size


def beside(parts: Iterable[Origins]) -> Origins:
    """Element by element what stands there in one of the arrays, which broadcast."""
    merge = np.frompyfunc(Origin.beside, 2, 1)
    return np.asarray(reduce(merge, parts), object)


def merged_along(origins: Origins, axis: int) -> Origins:
    """Merged along an axis of the array."""
    rows = np.moveaxis(origins, axis, 0)
    if not len(rows):
        raise UnknownSize
    return beside(list(rows))
