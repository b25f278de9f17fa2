"""The straight way from a baseline to the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.gradients.path_points import Path, in_dtype
from lrp_onnx.graph.builder import Emit

__all__ = ["StraightPath"]


@dataclass(frozen=True)
class StraightPath(Path):
    """A point's number is the part of the way that it lies behind the baseline."""

    begin: Mapping[ir.Value, ir.Value]
    way: Mapping[ir.Value, ir.Value]
    """x - x₀ of each source."""

    method = "integrated-gradients"

    def at(self, emit: Emit, x: ir.Value, number: ir.Value, lifted: bool) -> ir.Value:
        """x₀ and that part of the way."""
        way, begin = self.way[x], self.begin[x]
        if lifted:
            way, begin = (emit.op("Unsqueeze", v, emit.ints(0)) for v in (way, begin))
        return emit.op("Add", emit.op("Mul", in_dtype(emit, number), way), begin)
