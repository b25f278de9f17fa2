"""Parts of a graph that are functions of one tensor: one entry, one exit, constants else.

What an exit is computed from passes through its dominators, the nearest first; the nodes between
one of them and the exit are a function of that tensor alone, if nothing else reads what lies
between (Cooper, Harvey and Kennedy 2001, A simple, fast dominance algorithm).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import onnx_ir as ir

from lrp_onnx.graph.constants import constants_of
from lrp_onnx.graph.subgraphs import captures

__all__ = ["Dominators", "Region"]

MOST_NODES = 40
"""As many nodes spell a concept at most."""
MOST_ELEMENTS = 1 << 16
"""Larger constants are weights, not statistics or scales."""


@dataclass(frozen=True)
class Region:
    """The nodes between two tensors, in the graph's order."""

    entry: ir.Value
    exit: ir.Value
    nodes: tuple[ir.Node, ...]
    own: tuple[ir.Node, ...]
    """The nodes without those that compute constants."""

    def has(self, op_types: frozenset[str]) -> bool:
        """Whether one of these operators is in it."""
        return any(node.op_type in op_types for node in self.nodes)

    def alone(self) -> bool:
        """Whether nothing else reads what is computed on the way."""
        own = set(self.own)
        parts = [v for node in own for v in node.outputs if v is not self.exit]
        return all(
            not part.is_graph_output() and all(reader in own for reader, _ in part.uses())
            for part in parts
        )


class Dominators:
    """For each tensor of a graph the one that everything it is computed from passes through."""

    def __init__(self, graph: ir.Graph) -> None:
        self.constants = constants_of(graph)
        self.order = {node: k for k, node in enumerate(graph)}
        flow, start = nx.DiGraph(), "start"
        own = {v for node in graph for v in node.outputs}
        for node in graph:
            sources = [v for v in (*self.active(node), *captures(node)) if v not in self.constants]
            flow.add_edges_from((start, v) for v in sources if v not in own)
            for value in node.outputs:
                if value not in self.constants:
                    flow.add_edges_from((v, value) for v in sources or [start])
        self.above = nx.immediate_dominators(flow, start) if start in flow else {}

    def active(self, node: ir.Node) -> list[ir.Value]:
        """The inputs that are no constants, each once."""
        return list(dict.fromkeys(v for v in node.inputs if v is not None and self.varies(v)))

    def varies(self, value: ir.Value) -> bool:
        """Whether a value is no constant."""
        return value not in self.constants

    def entries(self, value: ir.Value) -> Iterator[ir.Value]:
        """The dominators of a value, the nearest first."""
        above = self.above.get(value)
        while isinstance(above, ir.Value):
            yield above
            above = self.above.get(above)

    def between(self, entry: ir.Value, exit: ir.Value) -> Region | None:
        """The region; None where it holds more than spells a concept, or a node with a body."""
        nodes, pending = set[ir.Node](), [exit]
        while pending:
            value = pending.pop()
            node = value.producer()
            if value is entry or node is None or node in nodes:
                continue
            nodes.add(node)
            if len(nodes) > MOST_NODES or node.domain or any(captures(node)) or _heavy(node):
                return None
            pending += [v for v in node.inputs if v is not None]
        known = [node for node in nodes if node in self.order]
        if len(known) < len(nodes):  # something of a graph around it
            return None
        ordered = tuple(sorted(known, key=self.order.__getitem__))
        own = tuple(node for node in ordered if any(map(self.varies, node.outputs)))
        return Region(entry, exit, ordered, own)


def _heavy(node: ir.Node) -> bool:
    """Whether it reads a large constant."""
    constants = [v.const_value for v in node.inputs if v is not None and v.is_initializer()]
    return any(c is None or c.size > MOST_ELEMENTS for c in constants)
