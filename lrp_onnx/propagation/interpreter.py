"""What a rule says of its node, as its file has it: the meaning that every rewrite must keep."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand, subtract
from lrp_onnx.graph.builder import Emit
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.propagation.conservation import columns, of_inactive, total
from lrp_onnx.propagation.expression_rule import by_expression, expressed
from lrp_onnx.propagation.shares import booked_by_shares, by_shares

__all__ = ["account", "interpret"]

Relevances = Sequence[ir.Value | None]


def interpret(emit: Emit, site: Assigned, arriving: Relevances) -> dict[int, ir.Value]:
    """The relevance of each active input, given that of each output."""
    by_rule = by_shares if site.rule.shares else by_expression
    return by_rule(emit, site, arriving)


def account(
    emit: Emit, site: Assigned, arriving: Relevances, propagated: Sequence[ir.Value]
) -> ir.Value:
    """What became of the relevance that arrives, as COLUMNS; `propagated` is what the graph passes
    on.
    """
    relevance = [r for r in arriving if r is not None]
    booked: tuple[Operand, Operand, Operand] = (0.0, 0.0, 0.0)
    if site.rule.shares:
        booked = booked_by_shares(emit, site, arriving)
    elif not site.rule.by_derivative:
        dropped = total(emit, relevance)
        for part in expressed(emit, site, arriving).values():
            dropped = subtract(emit, dropped, total(emit, [part]))
        booked = (0.0, 0.0, dropped)
    elif site.step.kind == "move" and len(relevance) == 1:
        booked = (0.0, 0.0, of_inactive(emit, site, relevance[0]))
    return columns(emit, relevance, propagated, booked)
