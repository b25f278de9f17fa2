"""Arithmetic on whole numbers that stand for something: token ids, positions, hashed n-grams.

Their size means nothing, so neither a derivative nor a share in proportion does.  What a table
gives for a code is given on to the inputs that made it, in equal parts, as if the code had come
from outside.
"""

from __future__ import annotations

from functools import cache

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.dtypes import is_integer
from lrp_onnx.graph.makers import downstream
from lrp_onnx.ops.registry import Op, record

__all__ = ["NOTHING", "arithmetic_on_codes", "names_rows"]

NOTHING = record("counts", "none", inputs=())
"""The record of an operator that makes a number of all codes along an axis."""


@cache
def arithmetic_on_codes(operands: int) -> Op:
    """The record of an elementwise operator that makes a code of so many others."""

    def shared(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
        """s, in equal parts."""
        return s if operands == 1 else emit.op("Mul", s, 1 / operands)

    return record("codes", "move", vjp=shared, inputs=None, broadcasts=True)


INDEX = {"Gather": 1, "GatherElements": 1, "GatherND": 1}
"""Operators that look something up, and the input that says where."""


def names_rows(value: ir.Value) -> bool:
    """Whether the integers say where to look, computed with before or not; what a graph hands
    out may.
    """
    behind = downstream([value], lambda node, position: filter(is_integer, node.outputs))
    return any(
        v.is_graph_output() or any(INDEX.get(node.op_type) == k for node, k in v.uses())
        for v in behind
    )
