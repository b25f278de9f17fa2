"""The backward pass: from the target to the inputs, one relevance node for each forward node,
fan-out summed in one place.

What the rules of the nodes come to is written out behind it (see `graph/dialect.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.analysis.unused_branch import may_be_unused
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.builder import Emit
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.propagation.bodies import through_bodies
from lrp_onnx.propagation.conservation import Accounts

__all__ = ["walk"]

Pairs = Sequence[tuple[ir.Value, ir.Value]]


def walk(
    emit: Emit,
    assigned: Sequence[Assigned],
    start: Mapping[ir.Value, ir.Value],
    wanted: Collection[ir.Value],
    accounts: Accounts | None = None,
    masks: dict[ir.Value, ir.Value] | None = None,
) -> dict[ir.Value, ir.Value]:
    """Emit the backward pass; returns the relevance of each `wanted` tensor that the path reaches.

    start: the starting relevance of the target, in the target's shape.
    masks: what a tensor's relevance is multiplied by; those of tensors that are reached are taken
    out.
    """
    pending = {value: [r] for value, r in start.items()}
    masks = {} if masks is None else masks
    # what is not on the path, such as a gate, may be where it begins
    unused = may_be_unused(list(emit.graph)) if assigned else set()
    for site in reversed(assigned):
        arriving = [_total(emit, pending, value, masks) for value in site.step.node.outputs]
        if all(r is None for r in arriving):
            continue
        emit.at(site.step.node, site.rule.name)
        through = _through_bodies if site.step.bodies else _propagate
        if site.step.node in unused:
            site = replace(site, may_be_unused=True)
        for value, r in through(emit, site, arriving, accounts):
            pending.setdefault(value, []).append(r)
    totals = {value: _total(emit, pending, value, masks) for value in wanted}
    return {value: r for value, r in totals.items() if r is not None}


def _total(
    emit: Emit,
    pending: dict[ir.Value, list[ir.Value]],
    value: ir.Value,
    masks: dict[ir.Value, ir.Value],
) -> ir.Value | None:
    """The sum over all consumers of a tensor, masked once; None where no relevance arrives."""
    if value not in pending:
        return None
    r, *others = pending[value]
    for other in others:
        (r,) = emit.relevance("Sum", [r, other], [value])
    if value in masks:
        (r,) = emit.relevance("Mask", [r, masks.pop(value)], [value])
    pending[value] = [r]
    return r


def _propagate(
    emit: Emit, site: Assigned, arriving: Sequence[ir.Value | None], accounts: Accounts | None
) -> Pairs:
    """The relevance that goes to each value from the node: pairs of value and relevance."""
    node = site.step.node
    inputs = [v for i in site.step.active if (v := node.inputs[i]) is not None]
    propagated = emit.relevance("Propagate", arriving, inputs, site, rule=site.rule.name)
    if accounts is not None:
        accounts.of_rule(emit, site, arriving, propagated)
    return list(zip(inputs, propagated, strict=True))


def _through_bodies(
    emit: Emit, site: Assigned, arriving: Sequence[ir.Value | None], accounts: Accounts | None
) -> Pairs:
    """The same from a node with bodies; what fails in there is told of the node in there."""
    node = site.step.node
    whole = [
        None if r is None else emit.relevance("Whole", [r], [y])[0]
        for r, y in zip(arriving, node.outputs, strict=True)
    ]
    try:
        return through_bodies(emit, site, whole, accounts, walk)
    except UnsupportedError as e:
        emit.refused.update(e.nodes or {node: str(e)})
        # anything of its shape: only whether the nodes before it are refused too still counts
        return [(v, v) for v in site.step.receivers()]
