"""Relevance through If, Loop and Scan.

If: an If with the same condition, each branch recomputing what it needs and walking back.

Scan and Loop: a Scan in the opposite direction.  The forward keeps what each iteration began with
(its carried values) as further outputs; iteration t of the backward, t = T-1 … 0, recomputes the
forward iteration from them and walks it back.  It carries the relevance of the carried values and
adds up that of what the body captures; the relevance of what the forward reads slice by slice is
written slice by slice.  Nothing is kept between iterations but the carried values, and the number
of iterations may be anything; a Loop's 0 too.  `lowering/all_steps.py` takes out of the body what
needs no iterations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from lrp_onnx.analysis.step import Body
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.annotations import BACKWARD_OF, provenance
from lrp_onnx.graph.appending import append_node
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.clone import paired
from lrp_onnx.graph.dtypes import compute_dtype
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.graph.stacked_outputs import last_first, stacked_outputs
from lrp_onnx.graph.subgraphs import ports_of
from lrp_onnx.lrp.assigned import Assigned, Walk
from lrp_onnx.propagation.conservation import Accounts, BodyAccount, untaken

__all__ = ["through_bodies"]

Pairs = list[tuple[ir.Value, ir.Value]]


def through_bodies(
    emit: Emit,
    site: Assigned,
    arriving: Sequence[ir.Value | None],
    accounts: Accounts | None,
    walk: Walk,
) -> Pairs:
    """The relevance of each input and captured value that the node's bodies give some to.

    arriving: per output of the node, None where none comes back. `walk` is that of the whole graph.
    Raises UnsupportedError where a carried value changes its shape.
    """
    node = site.step.node
    backward = _if_backward if node.op_type == "If" else _scan_backward
    account = None if accounts is None else BodyAccount()
    pairs = backward(emit, site, arriving, walk, account)
    if accounts is not None and account is not None:
        emit.at(node, site.rule.name)
        propagated = [r for _, r in pairs]
        accounts.of_body(emit, site, arriving, propagated, account.close(emit), account.conserves)
    return pairs


@dataclass
class Copy:
    """A body's copy that the backward recomputes, with the nodes on its path."""

    graph: ir.Graph
    values: dict[ir.Value, ir.Value]
    """Value of the forward body → that of the copy; others are captured."""
    nodes: tuple[Assigned, ...]

    def of(self, value: ir.Value) -> ir.Value:
        """The value's copy, or the value itself where it is captured."""
        return self.values.get(value, value)


def _copied(emit: Emit, body: Body, nodes: Sequence[Assigned]) -> Copy:
    graph = body.graph.clone(allow_outer_scope_values=True)
    graph.name = emit.fresh("lrp/body")
    values, twins = paired(body.graph, graph)
    for value, copy in values.items():
        copy.name, copy.shape, copy.type = emit.fresh("lrp"), value.shape, value.type
        if value in emit.signs:
            emit.signs[copy] = emit.signs[value]
    for node, copied in twins.items():
        copied.name = f"{emit.fresh('lrp/again')}/{node.name}"
        copied.metadata_props.update(provenance(emit.owner, "recomputed"))
    return Copy(graph, values, tuple(site.at_copy(values, twins) for site in nodes))


def _if_backward(
    emit: Emit,
    site: Assigned,
    arriving: Sequence[ir.Value | None],
    walk: Walk,
    account: BodyAccount | None,
) -> Pairs:
    node, captured = site.step.node, site.step.captured
    branches = {}
    names = [name for name, a in node.attributes.items() if a.type == ir.AttributeType.GRAPH]
    for name, body, nodes in zip(names, site.step.bodies, site.bodies, strict=True):
        copy = _copied(emit, body, nodes)
        inner = emit.inside(copy.graph)
        start: dict[ir.Value, ir.Value] = {}
        idle = []
        for k, r in enumerate(arriving):
            if r is not None and k in body.outputs:
                _add(inner, start, copy.graph.outputs[k], r)
            elif r is not None:
                idle.append(r)  # this branch makes that output of nothing explained
        inside = None if account is None else Accounts()
        relevance_of = walk(inner, copy.nodes, start, captured, inside)
        inner.at(node, site.rule.name)
        copy.graph.outputs[:] = [_result(inner, relevance_of.get(v), v) for v in captured]
        if account is not None and inside is not None:
            booked = account.of_run(inner, inside, [*untaken(start, copy.nodes, captured), *idle])
            copy.graph.outputs.append(_named(inner, booked, account.like(inner)))
        branches[name] = copy.graph
    (condition,) = node.inputs
    emit.at(node, site.rule.name)
    more = [] if account is None else [account.like(emit)]
    results = _append(emit, "If", [condition], branches, [*captured, *more])
    if account is not None:
        account.booked = results.pop()
    return list(zip(captured, results, strict=True))


def _scan_backward(
    emit: Emit,
    site: Assigned,
    arriving: Sequence[ir.Value | None],
    walk: Walk,
    account: BodyAccount | None,
) -> Pairs:
    node, (body,), (nodes,) = site.step.node, site.step.bodies, site.bodies
    ports, forward, captured = ports_of(node), body.graph, site.step.captured
    _require_steady(node, body)
    carried = [s for s in ports.states if s[1] in body.inputs]
    read = [s for s in ports.read if s.body in body.inputs]
    written = [s for s in ports.written if s.body in body.outputs and arriving[s.node] is not None]
    positions = [b for b in range(len(forward.inputs)) if b not in {s.body for s in ports.read}]
    copy = _copied(emit, body, nodes)
    way = int(not last_first(node))
    saved = _saved(emit, node, forward, positions)
    results = {out: copy.graph.outputs[out] for out in range(len(copy.graph.outputs))}
    inner = emit.inside(copy.graph)
    inputs = list(copy.graph.inputs)

    r_states = [_relevance_of(emit, forward.inputs[b]) for _, b, _ in carried]
    sums = [_relevance_of(emit, v) for v in captured]
    r_written = [_relevance_of(emit, forward.outputs[s.body]) for s in written]
    start: dict[ir.Value, ir.Value] = {}
    for (_, _, out), r in zip(carried, r_states, strict=True):
        _add(inner, start, results[out], r)
    for s, r in zip(written, r_written, strict=True):
        _add(inner, start, results[s.body], r)
    wanted = [*(inputs[b] for _, b, _ in carried), *(inputs[s.body] for s in read), *captured]
    inside = None if account is None else Accounts()
    relevance_of = walk(inner, copy.nodes, start, wanted, inside)
    inner.at(node, site.rule.name)
    before, after = list[ir.Value](), list[ir.Value]()
    if account is not None and inside is not None:
        before = [account.like(inner)]
        booked = account.of_run(inner, inside, untaken(start, copy.nodes, wanted))
        after = [_named(inner, inner.op("Add", before[0], booked), before[0])]

    copy.graph.inputs[:] = [
        *(*r_states, *sums, *before),
        *(inputs[b] for b in positions),
        *(inputs[s.body] for s in ports.read),
        *r_written,
    ]
    copy.graph.outputs[:] = [
        *(_result(inner, relevance_of.get(inputs[b]), inputs[b]) for _, b, _ in carried),
        *(_sum(inner, total, relevance_of.get(v)) for total, v in zip(sums, captured, strict=True)),
        *after,
        *(_result(inner, relevance_of.get(inputs[s.body]), inputs[s.body]) for s in read),
    ]
    firsts = [_or_zeros(emit, arriving[k], node, s[0]) for k, s in enumerate(ports.states)]
    outer = [
        *(firsts[ports.states.index(s)] for s in carried),
        *(expand_like(emit, 0.0, v) for v in captured),
        *(account.nothing(emit) for account in [account] if account is not None),
        *saved,
        *(node.inputs[s.node] for s in ports.read),
        *(arriving[s.node] for s in written),
    ]
    # every slice is met in the opposite order
    order = [
        *(way for _ in saved),
        *(int(not s.reverse) for s in (*ports.read, *written)),
    ]
    attributes = {
        "body": copy.graph,
        "num_scan_inputs": len(order),
        "scan_input_directions": order,
        "scan_input_axes": [0] * len(saved) + [s.axis for s in (*ports.read, *written)],
    }
    if read:
        attributes["scan_output_directions"] = [int(not s.reverse) for s in read]
        attributes["scan_output_axes"] = [s.axis for s in read]
    targets = [
        *(node.inputs[n] for n, _, _ in carried),
        *captured,
        *before,
        *(node.inputs[s.node] for s in read),
    ]
    emit.at(node, site.rule.name)
    append = _append_if_any if node.op_type == "Loop" else _append_scan
    returned = append(emit, saved, outer, attributes, targets)
    if node.op_type == "Scan" and emit.optimize and (back := returned[0].producer()) is not None:
        back.meta[BACKWARD_OF] = node
    receivers = set(site.step.receivers())
    if account is not None:
        (account.booked,) = [r for v, r in zip(targets, returned, strict=True) if v in before]
        others = receivers | set(before)
        account.lost = [r for v, r in zip(targets, returned, strict=True) if v not in others]
    return [
        (v, r) for v, r in zip(targets, returned, strict=True) if v in receivers and v is not None
    ]


def _append_scan(
    emit: Emit,
    saved: Sequence[ir.Value],
    inputs: Sequence[ir.Value | None],
    attributes: dict[str, Any],
    like: Sequence[ir.Value | None],
) -> list[ir.Value]:
    return _append(emit, "Scan", inputs, attributes, like)


def _append_if_any(
    emit: Emit,
    saved: Sequence[ir.Value],
    inputs: Sequence[ir.Value | None],
    attributes: dict[str, Any],
    like: Sequence[ir.Value | None],
) -> list[ir.Value]:
    """The Scan in an If: a Loop may have no iteration, which Scan does not take.  Then what the
    Scan begins with is the result.
    """
    some, none = (ir.Graph([], [], nodes=[], name=emit.fresh("lrp/body")) for _ in range(2))
    some.outputs[:] = _append(emit.inside(some), "Scan", inputs, attributes, like)
    within = emit.inside(none)
    pairs = [(r, v) for r, v in zip(inputs, like, strict=False) if r is not None and v is not None]
    none.outputs[:] = [_named(within, r, v) for r, v in pairs]
    iterations = emit.dimension(saved[0], 0)
    branches = {"then_branch": some, "else_branch": none}
    return _append(emit, "If", [emit.op("Greater", iterations, emit.ints(0))], branches, like)


def _require_steady(node: ir.Node, body: Body) -> None:
    """UnsupportedError for a carried value whose shape changes from iteration to iteration."""
    for n, b, out in ports_of(node).states:
        first, later = body.graph.inputs[b].shape, body.graph.outputs[out].shape
        begin = node.inputs[n]  # inference leaves the body's own open where the two differ
        if first is None and later is None and begin is not None and begin.shape is not None:
            raise UnsupportedError(
                f"its carried value {tensor_name(body.graph.inputs[b])!r} begins with the shape "
                f"{begin.shape}, and not every iteration is known to give that back. Give it one "
                "shape."
            )
        first = begin.shape if first is None and begin is not None else first
        if first is None or later is None:
            continue
        pairs = zip(first, later, strict=False)
        changed = any(m != n and isinstance(m, int) and isinstance(n, int) for m, n in pairs)
        if len(first) != len(later) or changed:
            raise UnsupportedError(
                f"its carried value {tensor_name(body.graph.inputs[b])!r} changes its shape from "
                f"{first} to {later}. Keep it of one shape, or give it out as a scan output"
            )


def _saved(emit: Emit, node: ir.Node, body: ir.Graph, positions: Sequence[int]) -> list[ir.Value]:
    """Further outputs of the forward: what each iteration began with, along a new first axis."""
    return stacked_outputs(emit, node, body, [body.inputs[k] for k in positions])


def _add(emit: Emit, start: dict[ir.Value, ir.Value], value: ir.Value, r: ir.Value) -> None:
    """Let relevance start at a value, beside what starts there already."""
    total = emit.op("Add", start[value], r) if value in start else r
    start[value] = emit.shaped(total, value)


def _relevance_of(emit: Emit, like: ir.Value) -> ir.Value:
    """A new value for the relevance of another, shaped like it."""
    dtype = ir.TensorType(compute_dtype(like.dtype))
    return ir.Value(name=emit.fresh("lrp"), shape=like.shape, type=dtype)


def _result(emit: Emit, r: ir.Value | None, like: ir.Value) -> ir.Value:
    """An output of its own for the relevance of a value, zeros where there is none."""
    relevance = expand_like(emit, 0.0, like) if r is None else r
    return _named(emit, relevance, like)


def _sum(emit: Emit, total: ir.Value, r: ir.Value | None) -> ir.Value:
    return _named(emit, total if r is None else emit.op("Add", total, r), total)


def _named(emit: Emit, value: ir.Value, like: ir.Value) -> ir.Value:
    """An Identity, since no value is an output twice and no input one."""
    name, result = emit.fresh("lrp/result"), _relevance_of(emit, like)
    props = provenance(emit.owner, emit.rule)
    append_node(emit.graph, "Identity", [value], [result], name, metadata=props)
    return result


def _or_zeros(emit: Emit, r: ir.Value | None, node: ir.Node, i: int) -> ir.Value:
    like = node.inputs[i]
    assert like is not None
    return expand_like(emit, 0.0, like) if r is None else r


def _append(
    emit: Emit,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: dict[str, Any],
    like: Iterable[ir.Value | None],
) -> list[ir.Value]:
    """Append a node with a body; one output shaped like each of `like`."""
    name = emit.fresh(f"lrp/{emit.owner}/{op_type}")
    results = [
        ir.Value(name=emit.fresh("lrp")) if original is None else _relevance_of(emit, original)
        for original in like
    ]
    props = provenance(emit.owner, emit.rule)
    append_node(emit.graph, op_type, inputs, results, name, attributes, metadata=props)
    return results
