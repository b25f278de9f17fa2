"""The walk: from the target back to the inputs, each node by its rule, fan-out summed in one
place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.analysis.unused_branch import may_be_unused
from lrp_onnx.errors import LrpError, RuleError, UnsupportedError
from lrp_onnx.graph.arithmetic import Operand
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.refusal import refusal
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.lrp.expression import names
from lrp_onnx.ops.registry import Op
from lrp_onnx.propagation.bodies import through_bodies
from lrp_onnx.propagation.conservation import Audit
from lrp_onnx.propagation.expressions import evaluate
from lrp_onnx.propagation.factored.linear import propagate_factored
from lrp_onnx.propagation.factored.normal_form import canonical
from lrp_onnx.propagation.factored.relevance import Moved, NotFactored, Relevance, total
from lrp_onnx.propagation.node_derivative import alone, numbers, vjp
from lrp_onnx.propagation.shares import by_shares

__all__ = ["walk"]


def walk(
    emit: Emit,
    assigned: Sequence[Assigned],
    start: Mapping[ir.Value, ir.Value],
    wanted: Collection[ir.Value],
    audit: Audit | None = None,
    masks: dict[ir.Value, ir.Value] | None = None,
) -> dict[ir.Value, ir.Value]:
    """Emit the backward pass; returns the relevance of each `wanted` tensor that the path reaches.

    start: the starting relevance of the target, in the target's shape.
    masks: what a tensor's relevance is multiplied by; those of tensors that are reached are taken
    out.
    Raises LrpError naming the node where a rule does not apply; UnsupportedError names all that
    cannot be explained.
    """
    refused: dict[ir.Node, str] = {}
    pending = {value: [Relevance(r)] for value, r in start.items()}
    masks = {} if masks is None else masks
    unused = may_be_unused([site.step.node for site in assigned])
    for site in reversed(assigned):
        arriving = [_total(emit, pending, value, masks) for value in site.step.node.outputs]
        if all(r is None for r in arriving):
            continue
        try:
            propagated = (_propagate_used if site.step.node in unused else _propagate)(
                emit, site, arriving, audit
            )
        except UnsupportedError as e:
            refused.update(e.nodes or {site.step.node: str(e)})
            # anything of its shape: only whether the nodes before it are refused too still counts
            propagated = [(v, Relevance(v)) for v in site.step.receivers()]
        for value, r in propagated:
            emit.shaped(r.coefficient, value)
            pending.setdefault(value, []).append(r)
    if refused:
        raise refusal(dict(reversed(refused.items())))
    totals = {value: _total(emit, pending, value, masks) for value in wanted}
    return {value: r.whole(emit) for value, r in totals.items() if r is not None}


def _total(
    emit: Emit,
    pending: dict[ir.Value, list[Relevance]],
    value: ir.Value,
    masks: dict[ir.Value, ir.Value],
) -> Relevance | None:
    """The sum over all consumers of a tensor, masked once; None where no relevance arrives."""
    if value not in pending:
        return None
    r = total(emit, pending[value])
    if value in masks:
        r = replace(r, coefficient=emit.op("Mul", r.coefficient, masks.pop(value)), moved=None)
    emit.shaped(r.coefficient, value)
    pending[value] = [r]
    return r


def _propagate(
    emit: Emit, site: Assigned, arriving: list[Relevance | None], audit: Audit | None
) -> list[tuple[ir.Value, Relevance]]:
    """The relevance that goes to each value from the node: pairs of value and relevance."""
    node = site.step.node
    emit.at(node, site.rule.name)
    if site.step.bodies:  # what fails in there is told of the node in there
        pairs = through_bodies(emit, site, _whole(emit, arriving), audit, walk)
        return [(v, Relevance(r)) for v, r in pairs]
    try:
        if emit.optimize:
            site = replace(site, rule=canonical(site.rule, site.settings))
        propagated = _as_product(emit, site, arriving) if emit.optimize else None
        if propagated is None:
            by_rule = by_shares if site.rule.shares else _by_expression
            plain = by_rule(emit, site, _whole(emit, arriving), audit)
            propagated = {i: Relevance(r) for i, r in plain.items()}
        return [(v, r) for i, r in propagated.items() if (v := node.inputs[i]) is not None]
    except UnsupportedError:
        raise
    except LrpError as e:
        raise type(e)(
            f"node {name_of(node)!r} ({node.op_type}), rule {site.rule.name!r}: {e}"
        ) from e


HARMLESS = {"Acosh": 2.0}
"""A number at which an operator is finite and has a finite derivative, where that is not 0.5."""


def _propagate_used(
    emit: Emit, site: Assigned, arriving: list[Relevance | None], audit: Audit | None
) -> list[tuple[ir.Value, Relevance]]:
    """The same at a node of a branch that may be unused: where nothing arrives its inputs, which
    may be NaN or infinite, are replaced by a number that gives nothing.
    """
    node, first = site.step.node, arriving[0]
    passes = site.rule.relevance == "R" or site.step.kind == "move"
    if first is None or passes or not site.step.op.elementwise:
        return _propagate(emit, site, arriving, audit)
    emit.at(node, site.rule.name)
    r = first.whole(emit)
    nothing, number = emit.op("Equal", r, 0.0), HARMLESS.get(node.op_type, 0.5)
    replaced: dict[int, Input] = {
        i: emit.shaped(emit.op("Where", nothing, number, x), node.outputs[0])
        for i, x in enumerate(node.inputs)
        if x is not None and (i not in site.step.active or x.shape == node.outputs[0].shape)
    }
    calm = emit.forward(node, replaced).producer()
    assert calm is not None
    calm_site = replace(site, step=replace(site.step, node=calm))
    own = dict(zip(calm.inputs, node.inputs, strict=True))
    pairs = _propagate(emit, calm_site, [Relevance(r)], audit)
    return [(x, share) for v, share in pairs if (x := own[v]) is not None]


def _whole(emit: Emit, arriving: Sequence[Relevance | None]) -> list[ir.Value | None]:
    return [None if r is None else r.whole(emit) for r in arriving]


def _as_product(
    emit: Emit, site: Assigned, arriving: list[Relevance | None]
) -> dict[int, Relevance] | None:
    """The same as the rule says where relevance can stay a product; None elsewhere."""
    if site.rule.shares:
        try:
            return propagate_factored(emit, site, arriving)
        except NotFactored as reason:
            emit.as_rule_says[name_of(site.step.node)] = str(reason)
            return None
    if any(r is not None and r.factor is not None for r in arriving):
        return moved_products(emit, site, arriving)
    return None


def moved_products(
    emit: Emit, site: Assigned, arriving: list[Relevance | None]
) -> dict[int, Relevance] | None:
    """A product that passes, or whose elements are only moved: of y·c it becomes x·c."""
    node, op, tree = site.step.node, site.step.op, site.rule.relevance
    first, *others = arriving
    if tree == "R" and op.elementwise and op.shared is None and not any(others):
        (i, *more) = site.step.active
        plain = not more and (not op.broadcasts or alone(node, i)) and node.op_type != "Cast"
        return {i: first} if plain and first is not None else None
    if tree != "vjp" or not _keeps_elements(emit, op, node):
        return None
    pairs = list(zip(arriving, node.outputs, strict=True))
    if any(r is not None and r.factor is not y for r, y in pairs):
        return None
    coefficients = [None if r is None else r.coefficient for r in arriving]

    def move(s: ir.Value) -> ir.Value:
        with emit.on_behalf_of(node, site.rule.name):
            return vjp(emit, op, node, [s], 0)

    pooled = node.op_type == "MaxPool" and first is not None
    moved = Moved(first, move) if pooled and first is not None else None
    return {
        i: Relevance(vjp(emit, op, node, coefficients, i), node.inputs[i], moved)
        for i in site.step.active
    }


def _keeps_elements(emit: Emit, op: Op, node: ir.Node) -> bool:
    """Whether every element of the outputs is one of the inputs' and none that is left out may be
    infinite, so that 0 times it is 0.
    """
    x = node.inputs[0]
    if x is None:
        return False
    if op.moves in ("reorders", "joins"):
        return True
    return node.op_type == "MaxPool" and emit.signs.get(x, 0) > 0


def _by_expression(
    emit: Emit, site: Assigned, arriving: list[ir.Value | None], audit: Audit | None
) -> dict[int, ir.Value]:
    """A rule of the form R_in = expression of R, x, y, vjp and total, for each active input."""
    node, tree = site.step.node, site.rule.relevance
    assert tree is not None
    y, used = node.outputs[0], names(tree)
    propagated, shared = {}, []
    for i in site.step.active:
        x = node.inputs[i]
        assert x is not None
        values: dict[str, Operand] = {"x": x, **numbers(emit, site, y)}
        if "y" in used:
            values["y"] = site.step.op.read(emit, node)
        if arriving[0] is not None:
            values["R"] = arriving[0]
        if "vjp" in used:
            values["vjp"] = vjp(emit, site.step.op, node, arriving, i)
        if "total" in used:
            values["total"] = _total_over_axes(emit, site, arriving[0])
        r = evaluate(emit, tree, values)
        if isinstance(r, float):
            raise RuleError(
                f"its relevance is the number {r:g} for every input. Use R or vjp in it"
            )
        shared.append(r)
        propagated[i] = r if "vjp" in used else _like_input(emit, site, r, i)
    if audit is not None:
        audit.of_expression(emit, site, arriving, propagated, None if "vjp" in used else shared)
    return propagated


def _total_over_axes(emit: Emit, site: Assigned, relevance: ir.Value | None) -> ir.Value:
    """The sum of R over the node's own axes, kept as size 1."""
    if site.step.op.axes is None or relevance is None:
        raise RuleError("the operator has no axes to sum R over. Choose another rule")
    axes = site.step.op.axes(site.step.node)
    return emit.op("ReduceSum", relevance, emit.ints(*axes), keepdims=1)


def _like_input(emit: Emit, site: Assigned, r: ir.Value, i: int) -> ir.Value:
    """Relevance in the output's shape, brought to that of input `i`."""
    op, node = site.step.op, site.step.node
    x, y = node.inputs[i], node.outputs[0]
    assert x is not None
    if op.shared is not None:
        return op.shared(emit, node, r)
    if op.broadcasts:
        return r if alone(node, i) else emit.sum_to(r, x, y)
    if op.elementwise:
        return r
    if x.shape is None or x.shape != y.shape:
        raise RuleError(
            f"it keeps the shape, but the node turns {x.shape} into {y.shape}. Choose another rule"
        )
    return r
