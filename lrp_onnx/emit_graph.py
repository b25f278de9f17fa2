"""The explanation appended to the forward graph: starting relevance, the walk, the named
outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import onnx_ir as ir

from lrp_onnx.assign import Assignment
from lrp_onnx.audit import COLUMNS, Audit
from lrp_onnx.backward import walk
from lrp_onnx.condition import condition_masks
from lrp_onnx.control import bodies_of
from lrp_onnx.emit import Emit, compute_dtype, make_room
from lrp_onnx.errors import TargetError
from lrp_onnx.integrate import integrated_gradients
from lrp_onnx.method import PATH, attribution
from lrp_onnx.naming import name_of
from lrp_onnx.source import cut_at_sources
from lrp_onnx.target import starting_relevance

__all__ = ["emit_relevance"]


def emit_relevance(
    model: ir.Model,
    assignment: Assignment,
    signs: Mapping[ir.Value, int],
    audit: Audit | None = None,
) -> None:
    """Append `<input>_relevance` for each explained input and `<tensor>_relevance` for each
    `relevance_at`.

    With an `audit`, the sums it collects become outputs `lrp.audit_<k>` too.
    """
    graph, y = model.graph, assignment.start_at
    request = assignment.request
    emit = Emit(graph, request.optimise and audit is None, request.runtime)
    emit.signs.update(signs)
    emit.source, emit.rule, emit.dtype = (
        f"target/{assignment.output.name}",
        "start",
        compute_dtype(y.dtype),
    )
    at = _tensors(model, assignment, assignment.request.relevance_at)
    conditioned = _tensors(model, assignment, assignment.request.conditions)
    first = starting_relevance(
        emit,
        graph,
        y,
        assignment.output,
        assignment.target,
        assignment.class_axis,
        assignment.request.start,
    )
    outputs = {str(value.name): value for value in assignment.inputs} | at
    masks = condition_masks(emit, graph, conditioned)
    wanted = list(outputs.values())
    if assignment.request.method == "lrp":
        found = walk(emit, assignment.nodes, {y: first}, wanted, audit, masks)
    elif assignment.request.method == PATH:
        found = integrated_gradients(emit, model, assignment, first, audit is not None)
    else:
        found = _by_gradient(emit, assignment, {y: first}, wanted, masks)
    _check_reached(outputs, found)
    _check_reached({n: v for n, v in conditioned.items() if v in masks}, ())
    for name, value in outputs.items():
        emit.source, emit.rule = str(name), "result"
        _add_output(graph, emit, found[value], value, f"{name}_relevance")
    for k, (site, sums, _) in enumerate(audit.rows if audit is not None else []):
        dtype = compute_dtype(site.step.node.outputs[0].dtype)
        # equal accounts, as of two nodes that pass on the same relevance, are emitted once
        account = ir.Value(
            name=f"lrp.audit_{k}", shape=ir.Shape([len(COLUMNS)]), type=ir.TensorType(dtype)
        )
        graph.append(ir.Node("", "Identity", [sums], outputs=[account], name=f"lrp/audit_{k}"))
        graph.outputs.append(account)


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
    cut = cut_at_sources(assignment.inputs, assignment.nodes)
    gradients = walk(emit, cut.behind, start, {*wanted, *cut.embedded}, masks=masks)
    method = assignment.request.method
    formed = {x: attribution(emit, method, x, g) for x, g in gradients.items()}
    embedded = {x: formed[x] for x in cut.embedded if x in formed}
    return formed | walk(emit, cut.before, embedded, wanted, masks=masks)


def _check_reached(tensors: Mapping[str, ir.Value], reached: Collection[ir.Value]) -> None:
    for name, value in tensors.items():
        if value not in reached:
            raise TargetError(
                f"tensor {name!r}: no relevance reaches it. Choose one between the explained "
                "input and the target."
            )


def _tensors(model: ir.Model, assignment: Assignment, names: Iterable[str]) -> dict[str, ir.Value]:
    """The tensors of those names; the output's is where relevance starts."""
    output = assignment.output.name
    return {n: assignment.start_at if n == output else _tensor(model, n) for n in names}


def _tensor(model: ir.Model, name: str) -> ir.Value:
    """The tensor of that name, or the one that took its place."""
    aliases = model.meta.get("lrp.aliases", {})
    wanted = name
    while wanted in aliases:
        wanted = aliases[wanted]
    known = {
        v.name: v for v in (*model.graph.inputs, *(o for node in model.graph for o in node.outputs))
    }
    if wanted not in known:
        if (around := _around(model.graph, wanted)) is not None:
            raise TargetError(
                f"tensor {name!r}: it lies in a body of node {name_of(around)!r}, which runs any "
                "number of times. Choose one outside of it."
            )
        raise TargetError(
            f"tensor {name!r}: the model has none. `lrp-onnx inspect` lists the nodes on the "
            "explanation path."
        )
    return known[wanted]


def _around(graph: ir.Graph, name: str) -> ir.Node | None:
    """The node in whose body a tensor of that name lies."""
    for node in graph:
        for body in bodies_of(node):
            if any(v.name == name for v in (*body.inputs, *(o for n in body for o in n.outputs))):
                return node
            if (inner := _around(body, name)) is not None:
                return inner
    return None


def _add_output(graph: ir.Graph, emit: Emit, r: ir.Value, like: ir.Value, name: str) -> None:
    """A graph output of that name in the dtype of the explained tensor (float32 for an integer
    one).
    """
    floating = like.dtype is not None and like.dtype.is_floating_point()
    dtype = like.dtype if floating and like.dtype is not None else ir.DataType.FLOAT
    if any(v.name == name for v in graph.outputs):
        raise TargetError(
            f"output {name!r}: the model already has an output of that name. Rename it."
        )
    make_room(graph, name)
    result = ir.Value(name=name, shape=like.shape, type=ir.TensorType(dtype))
    same = dtype == compute_dtype(dtype)
    node = ir.Node(
        "",
        "Identity" if same else "Cast",
        [r],
        attributes=[] if same else [ir.AttrInt64("to", int(dtype))],
        outputs=[result],
        name=f"lrp/{name}",
        metadata_props={"lrp.source": emit.source, "lrp.rule": emit.rule},
    )
    graph.append(node)
    graph.outputs.append(result)
