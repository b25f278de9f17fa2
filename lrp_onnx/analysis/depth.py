"""How deep in the network a node stands, whatever order a file lists its nodes in.

The depth of a node is the number of linear layers before it on the longest way from the explained
inputs, over that of the deepest linear layer: 0 at the first linear layer, 1 at the last.  Of a
single linear layer it is 1, since that one is the classifier.  The weights of a recurrent cell
count as a linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx

from lrp_onnx.analysis.step import Step

__all__ = ["is_linear_layer", "set_depths"]


def set_depths(path: Sequence[Step]) -> None:
    """Write its depth on every step of an explanation path, those in bodies included."""
    levels: dict[int, int] = {}
    last = _follow(path, 0, levels) - 1
    for step in (inner for outer in path for inner in outer.within()):
        before = levels[id(step.place)]
        step.place.depth = min(1.0, before / last) if last > 0 else 1.0


def _follow(steps: Sequence[Step], entered: int, levels: dict[int, int]) -> int:
    """Note how many linear layers lie before each step of one graph; returns how many lie in front
    of its end. `entered`: how many lie before the graph itself.
    """
    if not steps:
        return entered
    graph, behind = steps[0].place.graph, dict[int, int]()
    for k in nx.topological_sort(graph):
        step = steps[k]
        before = max((behind[p] for p in graph.predecessors(k)), default=entered)
        levels[id(step.place)] = before
        inside = [_follow(body.steps, before, levels) for body in step.bodies]
        behind[k] = max(inside, default=before + is_linear_layer(step))
    return max(behind.values())


def is_linear_layer(step: Step) -> bool:
    """Whether it multiplies by weights: a linear node, or the weights of a recurrent cell."""
    return step.kind == "linear" or (step.kind in ("cell", "recurrent") and step.op.weighted)
