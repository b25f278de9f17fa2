"""What a rule says of its node, as its file has it: the meaning that every rewrite must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand, subtract
from lrp_onnx.graph.broadcasting import sum_to
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.dtypes import is_float
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.propagation.conservation import columns, of_inactive, total
from lrp_onnx.propagation.expression_rule import by_expression, expressed
from lrp_onnx.propagation.shares import booked_by_shares, by_shares

__all__ = ["account", "calmed", "has_sizes_of_output", "interpret", "own_sizes"]

Relevances = Sequence[ir.Value | None]


HARMLESS = {"Acosh": 2.0}
"""A number at which an operator is finite and has a finite derivative, where that is not 0.5."""


def calmed(emit: Emit, site: Assigned, arriving: Relevances) -> Assigned:
    """The same at a node of a branch that may be unused: where nothing arrives its inputs, which
    may be NaN or infinite, are replaced by a number that gives nothing.
    """
    node, r = site.step.node, arriving[0]
    passes = site.rule.relevance == "R" or site.step.kind == "move"
    if not site.may_be_unused or r is None or passes or not site.step.op.elementwise:
        return site
    nothing, number = emit.op("Equal", r, 0.0), HARMLESS.get(node.op_type, 0.5)
    replaced: dict[int, Input] = {
        i: emit.shaped(emit.op("Where", nothing, number, x), node.outputs[0])
        for i, x in enumerate(node.inputs)
        if is_float(x)
        and not (node.op_type == "Clip" and i)  # its bounds are scalars
    }  # fmt: skip
    calm = forward_copy(emit, node, replaced).producer()
    assert calm is not None
    return replace(site, step=replace(site.step, node=calm), may_be_unused=False)


def interpret(emit: Emit, site: Assigned, arriving: Relevances) -> dict[int, ir.Value]:
    """The relevance of each active input, given that of each output."""
    calm = calmed(emit, site, arriving)
    by_rule = by_shares if site.rule.shares else by_expression
    shares = by_rule(emit, calm, arriving)
    return shares if calm is site else {i: own_sizes(emit, site, i, r) for i, r in shares.items()}


def own_sizes(emit: Emit, site: Assigned, i: int, r: ir.Value) -> ir.Value:
    """Relevance of a replaced input, which has the output's shape, in that of input i."""
    x, y = site.step.node.inputs[i], site.step.node.outputs[0]
    return r if x is None or has_sizes_of_output(site, i) else sum_to(emit, r, x, y)


def has_sizes_of_output(site: Assigned, i: int) -> bool:
    """Whether input i is known to have the output's shape."""
    x = site.step.node.inputs[i]
    return x is not None and x.shape == site.step.node.outputs[0].shape


def account(
    emit: Emit, site: Assigned, arriving: Relevances, propagated: Sequence[ir.Value]
) -> ir.Value:
    """What became of the relevance that arrives, as ACCOUNT_COLUMNS; `propagated` is what the graph
    passes on.
    """
    site = calmed(emit, site, arriving)
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
