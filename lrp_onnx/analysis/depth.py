"""How deep in the network a node stands, whatever order a file lists its nodes in.

The depth of a node is the number of linear layers before it on the longest way from the explained
inputs, over that of the deepest linear layer: 0 at the first linear layer, 1 at the last.  Of a
single linear layer it is 1, since that one is the classifier.  The weights of a recurrent cell
count as a linear layer, once however many steps are written out.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import onnx_ir as ir

from lrp_onnx.analysis.step import Step

__all__ = ["is_linear_layer", "set_depths"]


RECURRENT = ("cell", "recurrent")
Weights = frozenset[ir.Value]


def set_depths(on_path: Sequence[Step]) -> None:
    """Write its depth on every step of an explanation path, those in bodies included."""
    levels: dict[int, int] = {}
    last = _follow(on_path, 0, levels) - 1
    for step in (inner for outer in on_path for inner in outer.within()):
        before = levels[id(step.place)]
        step.place.depth = min(1.0, before / last) if last > 0 else 1.0


def _follow(steps: Sequence[Step], entered: int, levels: dict[int, int]) -> int:
    """Note how many linear layers lie before each step of one graph; returns how many lie in front
    of its end. `entered`: how many lie before the graph itself.
    """
    if not steps:
        return entered
    graph, behind = steps[0].place.graph, dict[int, int]()
    cells, first = _cells(steps, graph), dict[int, int]()
    for k in nx.topological_sort(graph):
        step = steps[k]
        before = max((behind[p] for p in graph.predecessors(k)), default=entered)
        if (cell := cells.get(_weights(step))) is not None:
            before = first.setdefault(cell, before)
        levels[id(step.place)] = before
        inside = [_follow(body.steps, before, levels) for body in step.bodies]
        behind[k] = max(inside, default=before + is_linear_layer(step))
    return max(behind.values())


def _cells(steps: Sequence[Step], graph: nx.DiGraph) -> dict[Weights, int]:
    """The number of the recurrent cell that weights belong to: those that meet in its sums."""
    meeting, nearest = nx.Graph(), dict[int, set[Weights]]()
    if not any(map(_weights, steps)):
        return {}
    for k in nx.topological_sort(graph):
        own = _weights(steps[k])
        nearest[k] = {own} if own else set().union(*(nearest[p] for p in graph.predecessors(k)))
        meeting.add_nodes_from(nearest[k])
        if steps[k].kind == "cell":
            nx.add_path(meeting, nearest[k])
    parts = enumerate(nx.connected_components(meeting))
    return {weights: number for number, part in parts for weights in part}


def _weights(step: Step) -> Weights:
    """What a layer of a recurrent cell multiplies by, and adds; nothing of another step."""
    recurrent = step.kind in RECURRENT and step.op.weighted
    inputs = step.node.inputs if recurrent else ()
    return frozenset(v for v in inputs if v is not None and v.is_initializer())


def is_linear_layer(step: Step) -> bool:
    """Whether it multiplies by weights: a linear node, or the weights of a recurrent cell."""
    return step.kind == "linear" or (step.kind in RECURRENT and step.op.weighted)
