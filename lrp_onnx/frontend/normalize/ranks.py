"""Ranks that depend on a size which only the run knows, but of which one alone survives the run.

An exported `squeeze(dim)` is an If: Squeeze where the size is 1, Identity elsewhere; behind it
stands a network that takes one rank only.  So each way is tried: if it leads to a node that no run
survives, in a graph that runs whenever the choice is made, the other way is taken whenever the
model runs at all.  A Squeeze without axes is decided alike; where both of its ways survive it is
explained as if no open size were 1, and the forward keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.decompose import replace_node
from lrp_onnx.frontend.normalize.branch import inline
from lrp_onnx.frontend.normalize.contradiction import contradictions
from lrp_onnx.graph.annotations import RUNS_ALWAYS
from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import bodies_of, graphs_of, nodes_of

__all__ = ["choose_ranks"]

Way = Callable[[ir.Model, ir.Node], None]


def choose_ranks(
    model: ir.Model, normalized: Callable[[ir.Model], None], undecided: set[str | None]
) -> bool:
    """Take the only way that runs survive, at the first node where there is one.

    normalized: shapes inferred and what they decide done, without an error. undecided: where both
    ways have been found to survive; they are not tried again.
    """
    nodes = list(nodes_of(model.graph))
    for position, node in enumerate(nodes):
        ways = _ways(node)
        if not ways or node.outputs[0].name in undecided:
            continue
        left = [way for way in ways if _survives(model, position, way, normalized)]
        if len(left) == 1:
            left[0](model, node)
            return True
        undecided.add(node.outputs[0].name)
    return sum(replace_node(model, node, _as_if_open) for node in nodes if _lacks_axes(node)) > 0


def _lacks_axes(node: ir.Node) -> bool:
    """Whether only the run knows what a Squeeze removes."""
    x = node.inputs[0] if node.op_type == "Squeeze" and not node.domain else None
    if x is None or x.shape is None or len(node.inputs) > 1:
        return False
    return not all(isinstance(size, int) for size in x.shape)


def _as_if_open(build: Build, node: ir.Node) -> list[ir.Value | None]:
    """The axes that are known to be 1 are removed, no other is."""
    x = node.inputs[0]
    assert x is not None
    ones = [axis for axis, size in enumerate(x.shape or ()) if size == 1]
    z = build.op("Squeeze", x, build.ints(*ones)) if ones else build.op("Identity", x)
    return [build.explained(node.outputs[0], z)]


def _ways(node: ir.Node) -> list[Way]:
    """The ways that a node may go, where they lead to different ranks."""
    if node.domain:
        return []
    if node.op_type == "If" and _ranks_differ(node):
        return [_taking(name) for name in ("then_branch", "else_branch")]
    return _squeezings(node) if _lacks_axes(node) else []


def _ranks_differ(node: ir.Node) -> bool:
    outputs = zip(*(body.outputs for body in bodies_of(node)), strict=True)
    known = [(a.shape, b.shape) for a, b in outputs if a.shape is not None and b.shape is not None]
    return any(len(a) != len(b) for a, b in known)


def _taking(branch: str) -> Way:
    def take(model: ir.Model, node: ir.Node) -> None:
        inline(model, [(node, branch)])

    return take


def _squeezings(node: ir.Node) -> list[Way]:
    """With the one axis whose size is unknown, and without it."""
    x = node.inputs[0]
    shape = () if x is None or x.shape is None else x.shape
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    unknown = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
    if len(unknown) != 1:
        return []
    return [_squeezing(ones), _squeezing(sorted([*ones, *unknown]))]


def _squeezing(axes: list[int]) -> Way:
    def squeeze(model: ir.Model, node: ir.Node) -> None:
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        name = f"{node.outputs[0].name}/axes"
        value = new_constant(graph, name, np.array(axes), ir.DataType.INT64)
        node.resize_inputs(2)
        node.replace_input_with(1, value)

    return squeeze


def _survives(
    model: ir.Model, position: int, way: Way, normalized: Callable[[ir.Model], None]
) -> bool:
    """Whether some run may survive this way."""
    trial = model.clone()
    node = list(nodes_of(trial.graph))[position]
    assert isinstance(node.graph, ir.Graph)
    for graph in _around(trial.graph, node.graph):
        graph.metadata_props[RUNS_ALWAYS] = "1"
    way(trial, node)
    normalized(trial)
    here = [graph for graph in graphs_of(trial.graph) if RUNS_ALWAYS in graph.metadata_props]
    opset = trial.graph.opset_imports[""]
    return not any(True for graph in here for _ in contradictions(graph, opset))


def _around(graph: ir.Graph, inner: ir.Graph) -> Iterator[ir.Graph]:
    """The inner graph and those that it lies in."""
    if inner in graphs_of(graph):
        yield graph
        for node in graph:
            for body in bodies_of(node):
                yield from _around(body, inner)
