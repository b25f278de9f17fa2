"""The explanation appended to the forward graph: starting relevance, the walk, the named
outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.compiler.accounts import NodeAccount
from lrp_onnx.errors import TargetError
from lrp_onnx.gradients.leaves import cut_at_leaves
from lrp_onnx.graph.annotations import (
    ACCOUNT,
    ACCOUNT_COLUMNS,
    PLAIN,
    RELEVANCE,
    TOPK_INDEX,
    provenance,
)
from lrp_onnx.graph.appending import append_node, make_room
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.dtypes import compute_dtype, is_float
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.tensors import tensor_of
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.lrp.methods import attribution
from lrp_onnx.lrp.similarity import similarity_start
from lrp_onnx.lrp.start import largest_classes, starting_relevance
from lrp_onnx.lrp.target import Target
from lrp_onnx.propagation.backward_pass import walk
from lrp_onnx.propagation.condition import condition_masks
from lrp_onnx.propagation.conservation import Accounts
from lrp_onnx.runtimes import RUNTIMES

__all__ = ["accounts_of", "emit_relevance"]

Methods = Mapping[str, Callable[..., dict[ir.Value, ir.Value]]]


def emit_relevance(
    model: ir.Model,
    assignment: Assignment,
    signs: Mapping[ir.Value, int],
    methods: Methods,
    booked: Mapping[str, Accounts] | None = None,
    references: Mapping[str, NDArray[Any]] | None = None,
) -> Emit:
    """Append `<input>_relevance` for each explained input and `<tensor>_relevance` for each
    `relevance_at`; of several outputs each `<output>_<input>_relevance`.

    For `top-K` the backward pass is emitted once for each class; what does not depend on relevance
    is shared. With `booked`, one by output, the sums they collect become outputs `lrp.account_<k>`
    too, and where `optimize` makes another graph of them the relevance by the rules as they stand
    outputs `lrp.plain.<input>_relevance`.  references: y_ref by output, see
    `lrp_onnx.compiler.reference`.  methods: those that differentiate at
    more than one point or at a layer, by name.  Returns what the next stages write with.
    """
    graph, options, booked = model.graph, assignment.options, booked or {}
    emit = Emit(graph, options.optimize, RUNTIMES[options.runtime])
    emit.signs.update(signs)
    # found before the inputs that are added take names
    at = _tensors(model, assignment, options.relevance_at)
    conditioned = _tensors(model, assignment, options.conditions)
    references = references or {}
    starts = {
        one.prefix: _starts(emit, graph, one, references.get(str(one.output.name)))
        for one in assignment.each
    }
    masks, unused = condition_masks(emit, graph, conditioned), dict(conditioned)
    unreached = set(options.relevance_at)
    for one in assignment.each:
        accounts = booked.get(str(one.output.name))
        reached = _emit_output(emit, model, one, at, starts[one.prefix], masks, accounts, methods)
        unreached -= reached
        unused = {name: value for name, value in unused.items() if value not in reached}
    _check_none([*(n for n in options.relevance_at if n in unreached), *unused])
    for k, (site, sums, _) in enumerate(
        row for accounts in booked.values() for row in accounts.rows
    ):
        dtype = compute_dtype(site.step.node.outputs[0].dtype)
        # equal accounts, as of two nodes that pass on the same relevance, are emitted once
        account = ir.Value(
            name=f"{ACCOUNT}{k}", shape=ir.Shape([len(ACCOUNT_COLUMNS)]), type=ir.TensorType(dtype)
        )
        props = provenance(name_of(site.step.node), "account")
        append_node(graph, "Identity", [sums], [account], f"lrp/account_{k}", metadata=props)
        graph.outputs.append(account)
    return emit


def accounts_of(booked: Mapping[str, Accounts]) -> tuple[NodeAccount, ...]:
    """The accounts in the order of the walk, from the output to the input, output by output."""
    rows = [(*row, output) for output, accounts in booked.items() for row in accounts.rows]
    return tuple(
        NodeAccount(
            name=name_of(site.step.node),
            op_type=site.step.node.op_type,
            rule=site.rule.name,
            conserves=conserves,
            output=f"{ACCOUNT}{k}",
            explains=explains,
        )
        for k, (site, _, conserves, explains) in enumerate(rows)
    )


def _emit_output(
    emit: Emit,
    model: ir.Model,
    assignment: Assignment,
    at: Mapping[str, ir.Value],
    starts: Sequence[ir.Value],
    masks: Mapping[ir.Value, ir.Value],
    accounts: Accounts | None,
    methods: Methods,
) -> set[str | ir.Value]:
    """The relevance of one output; returns the names that relevance was found at, and the tensors
    whose masks were met.
    """
    graph, options = model.graph, assignment.options
    outputs = {str(value.name): value for value in assignment.inputs} | dict(at)
    reached = set[str | ir.Value]()

    def explain(emit: Emit, accounts: Accounts | None, prefix: str = "") -> None:
        rounds = []
        for first in starts:
            own, left = None if accounts is None else Accounts(), dict(masks)
            wanted = list(outputs.values())
            relevance = _explained(emit, model, assignment, first, wanted, own, left, methods)
            _check_none([str(v.name) for v in assignment.inputs if v not in relevance])
            reached.update(n for n, value in outputs.items() if value in relevance)
            reached.update(value for value in masks if value not in left)
            rounds.append(relevance)
            if accounts is not None and own is not None:
                accounts.include(emit, own)
        names = {n: f"{prefix}{assignment.prefix}{n}{RELEVANCE}" for n in outputs if n in reached}
        _reserve(graph, list(names.values()))
        for name, whole in names.items():
            value = outputs[name]
            emit.write_for(value, str(name), "result")
            of_all = [relevance[value] for relevance in rounds]
            _add_relevance(graph, emit, assignment.target, of_all, value, whole)

    if accounts is not None and options.optimize and assignment.method.rules:
        explain(emit.as_rules_stand(), None, PLAIN)
    explain(emit, accounts)
    if assignment.target.kind == "top":
        _add_classes(graph, emit, assignment)
    return reached


def _starts(
    emit: Emit, graph: ir.Graph, assignment: Assignment, reference: NDArray[Any] | None
) -> list[ir.Value]:
    """Where relevance starts: one tensor, for `top-K` one for each class."""
    y, output, axis = assignment.logits, assignment.output, assignment.class_axis
    target = assignment.target
    explained = None if assignment.start == "one" else assignment.start_at
    emit.write_for(y, f"target/{output.name}", "start")
    if target.kind == "similarity":
        return [similarity_start(emit, graph, assignment)]
    if reference is not None:
        explained = emit.op("Sub", y, emit.constant(reference))
    return [
        starting_relevance(emit, graph, y, output, target, axis, explained, place)
        for place in range(target.count)
    ]


def _explained(
    emit: Emit,
    model: ir.Model,
    assignment: Assignment,
    first: ir.Value,
    wanted: Collection[ir.Value],
    accounts: Accounts | None,
    masks: dict[ir.Value, ir.Value],
    methods: Methods,
) -> dict[ir.Value, ir.Value]:
    """The relevance of each wanted tensor by the method that was asked for."""
    start = {assignment.start_at: first}
    if assignment.method.rules:
        return walk(emit, assignment.nodes, start, wanted, accounts, masks)
    if (method := methods.get(assignment.method.name)) is not None:
        account = "" if accounts is None else str(assignment.output.name)
        return method(emit, model, assignment, first, walk, account)
    return _by_gradient(emit, assignment, start, wanted, masks)


def _by_gradient(
    emit: Emit,
    assignment: Assignment,
    start: Mapping[ir.Value, ir.Value],
    wanted: Collection[ir.Value],
    masks: dict[ir.Value, ir.Value],
) -> dict[ir.Value, ir.Value]:
    """What the method makes of each tensor's gradient; that of integer inputs is summed over what
    they become.
    """
    cut = cut_at_leaves(assignment.inputs, assignment.nodes)
    tensors = tuple(dict.fromkeys((*wanted, *cut.embedded)))  # a set has no order
    gradients = walk(emit, cut.behind, start, tensors, masks=masks)
    formed = {x: attribution(emit, assignment.method, x, g) for x, g in gradients.items()}
    embedded = {x: formed[x] for x in cut.embedded if x in formed}
    return formed | walk(emit, cut.before, embedded, wanted, masks=masks)


def _check_none(names: Sequence[str]) -> None:
    """TargetError for tensors that no relevance reaches."""
    for name in names:
        raise TargetError(
            f"tensor {name!r}: no relevance reaches it. Choose one between the explained input and "
            "the target."
        )


def _tensors(model: ir.Model, assignment: Assignment, names: Iterable[str]) -> dict[str, ir.Value]:
    """The tensors of those names; an explained output's is where relevance starts."""
    starts = {one.output.name: one.start_at for one in assignment.each}
    return {n: starts.get(n) or tensor_of(model, n) for n in names}


def _add_relevance(
    graph: ir.Graph,
    emit: Emit,
    target: Target,
    relevances: Sequence[ir.Value],
    like: ir.Value,
    name: str,
) -> None:
    """The output of that name, shaped like the tensor; of several classes stacked behind the
    batch.
    """
    shape, (r, *_) = like.shape, relevances
    if target.kind == "top":
        axis = min(1, known_rank(like))
        r = emit.op(
            "Concat", *(emit.op("Unsqueeze", r, emit.ints(axis)) for r in relevances), axis=axis
        )
        dims = list(like.shape or ())
        shape = ir.Shape([*dims[:axis], target.count, *dims[axis:]])
    floating = is_float(like)
    dtype = like.dtype if floating and like.dtype is not None else ir.DataType.FLOAT
    _add_output(graph, emit, r, name, dtype, shape)


def _add_classes(graph: ir.Graph, emit: Emit, assignment: Assignment) -> None:
    """The output `<output>_topk_index`: which classes were explained, along the class axis."""
    y, output, axis = assignment.logits, assignment.output, assignment.class_axis
    emit.write_for(y, f"target/{output.name}", "start")
    count, dims = assignment.target.count, list(y.shape or ())
    shape = [*dims, 1] if axis is None else [*dims[:axis], count, *dims[axis + 1 :]]
    if (head := assignment.target.head) is not None and axis is not None:
        scored = {axis, 0} if head.batch else {axis}
        shape = [size if k in scored else 1 for k, size in enumerate(shape)]
    largest = largest_classes(emit, y, output, assignment.target, axis)
    name = f"{output.name}{TOPK_INDEX}"
    _reserve(graph, [name])
    _add_output(graph, emit, largest, name, ir.DataType.INT64, ir.Shape(shape))


def _reserve(graph: ir.Graph, names: Sequence[str]) -> None:
    """Make the names free for outputs. Raises TargetError where the model has one of that name."""
    known = {value.name for value in graph.outputs}
    for name in names:
        if name in known:
            raise TargetError(
                f"output {name!r}: the model already has an output of that name. Rename it."
            )
    make_room(graph, *names)


def _add_output(
    graph: ir.Graph,
    emit: Emit,
    value: ir.Value,
    name: str,
    dtype: ir.DataType,
    shape: ir.Shape | None,
) -> None:
    """A graph output of that reserved name, cast to that dtype where it is half-precision."""
    result = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))
    same = dtype == ir.DataType.INT64 or dtype == compute_dtype(dtype)
    append_node(
        graph,
        "Identity" if same else "Cast",
        [value],
        [result],
        f"lrp/{name}",
        {} if same else {"to": int(dtype)},
        metadata=provenance(emit.owner, emit.rule),
    )
    graph.outputs.append(result)
