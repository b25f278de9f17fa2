"""Parts of a graph that are functions of one tensor: one entry, one exit, constants else.

What an exit is computed from passes through its dominators, the nearest first; the nodes between
one of them and the exit are a function of that tensor alone (Cooper, Harvey and Kennedy 2001, A
simple, fast dominance algorithm).  What lies between may be read elsewhere, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.graph.constants import constants_of
from lrp_onnx.graph.subgraphs import CONTROL, RECURRENT, captures
from lrp_onnx.ops.registry import find

__all__ = ["Dominators", "Region"]

MOST_NODES = 40
"""As many nodes spell a concept at most."""
MOST_ELEMENTS = 1 << 18
"""Larger constants are weights, not statistics or scales."""


@dataclass(frozen=True)
class Region:
    """The nodes between two tensors, in the graph's order."""

    entry: ir.Value
    exit: ir.Value
    nodes: tuple[ir.Node, ...]
    own: tuple[ir.Node, ...]
    """The nodes without those that compute constants."""


class Dominators:
    """For each tensor of a graph the one that everything it is computed from passes through."""

    def __init__(self, graph: ir.Graph) -> None:
        self.constants = constants_of(graph)
        self.order = {node: k for k, node in enumerate(graph)}
        flow, start = nx.DiGraph(), ir.Value(name="start")
        own = {v for node in graph for v in node.outputs}
        for node in graph:
            active = [v for v in (*self.active(node), *captures(node)) if v not in self.constants]
            flow.add_edges_from((start, v) for v in active if v not in own)
            for value in node.outputs:
                if value not in self.constants:
                    flow.add_edges_from((v, value) for v in active or [start])
        self.above = nx.immediate_dominators(flow, start) if start in flow else {}
        self.start = start

    def active(self, node: ir.Node) -> list[ir.Value]:
        """The inputs that are no constants, each once."""
        return list(dict.fromkeys(v for v in node.inputs if v is not None and self.varies(v)))

    def varies(self, value: ir.Value) -> bool:
        """Whether a value is no constant."""
        return value not in self.constants

    def entries(self, value: ir.Value) -> Iterator[ir.Value]:
        """The dominators of a value, the nearest first."""
        above = self.above.get(value)
        while above is not None and above is not self.start:
            yield above
            above = self.above.get(above)

    def regions(self, exit: ir.Value, needs: Sequence[frozenset[object]]) -> Iterator[Region]:
        """Those that end in a value, the smallest first, as far as they may spell a concept.

        needs: of each of these sets a region has a node, or a node's operator.
        """
        nodes, pending, entry = dict[ir.Node, None](), [exit], self.above.get(exit)
        lacks = list(needs)
        while entry is not None and entry is not self.start:
            while pending:
                node = None if (value := pending.pop()) is entry else value.producer()
                if node is None or node in nodes:
                    continue
                nodes[node] = None
                if len(nodes) > MOST_NODES or not self._may_hold(node):
                    return
                lacks = [need for need in lacks if not {node, node.op_type} & need]
                pending += [v for v in node.inputs if v is not None]
            if not lacks:
                ordered = tuple(sorted(nodes, key=self.order.__getitem__))
                own = tuple(node for node in ordered if any(map(self.varies, node.outputs)))
                yield Region(entry, exit, ordered, own)
            pending, entry = [entry], self.above.get(entry)

    def _may_hold(self, node: ir.Node) -> bool:
        """Whether a region may have it: no body, no large constant, nothing of a graph around."""
        if node not in self.order or node.domain or node.op_type in (*CONTROL, *RECURRENT):
            return False
        operator = find(node)
        return (operator is None or operator.window != "kernel") and not _heavy(node)


def _heavy(node: ir.Node) -> bool:
    """Whether it reads a large constant, or multiplies by a matrix that takes no mean and subtracts
    none.
    """
    constants = [v.const_value for v in node.inputs if v is not None and v.is_initializer()]
    if any(c is None or c.size > MOST_ELEMENTS for c in constants):
        return True
    matrices = constants if node.op_type in ("MatMul", "Gemm") else []
    return any(c is not None and _varies(c.numpy()) for c in matrices)


def _varies(matrix: NDArray[Any]) -> bool:
    """Whether its columns are of different kinds: those of a·1 and of I - a·1 are not."""
    if min(matrix.shape, default=1) < 2:
        return False
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        return bool((matrix != matrix.flat[0]).any())
    others = matrix[~np.eye(len(matrix), dtype=bool)]
    diagonal = matrix.diagonal()
    unlike = (others != others[0]).any() or (diagonal != diagonal[0]).any()
    return bool(unlike or (not others[0] and diagonal[0]))  # a multiple of I takes no mean
