"""One node on the explanation path, and where it stands among the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx
import onnx_ir as ir

from lrp_onnx.graph.names import names_of
from lrp_onnx.graph.subgraphs import ports_of
from lrp_onnx.ops.registry import Op

__all__ = ["Body", "Place", "Step"]


@dataclass(frozen=True)
class Step:
    """One node on the path, in topological order."""

    node: ir.Node
    op: Op
    kind: str
    active: tuple[int, ...]
    """The inputs that receive relevance."""
    captured: tuple[ir.Value, ...]
    """The values around it that receive relevance from its bodies."""
    index: int
    """Its position among linear, activation and pooling nodes, counted from 0."""
    place: Place = field(repr=False, compare=False)
    bodies: tuple[Body, ...] = ()

    @property
    def depth(self) -> float:
        """The share of the linear layers that lies before it, from 0 to 1."""
        return self.place.depth

    @property
    def op_type(self) -> str:
        """The operator that a selector's `op` is compared with."""
        return self.place.acts_as or self.node.op_type

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names that a pattern may give."""
        return names_of(self.node)

    def receivers(self) -> list[ir.Value]:
        """The values that get relevance from it: inputs, and what its bodies capture."""
        inputs = [v for i in self.active if (v := self.node.inputs[i]) is not None]
        return [*inputs, *self.captured]

    def before(self) -> Iterator[Step]:
        """Its ancestors on the path, nearest first, those in bodies and around them included, and
        those in an iteration before.
        """
        for _, k in nx.bfs_edges(self.place.graph, self.place.position, reverse=True):
            yield from self.place.steps[k].within()
        if self.place.outer is not None:
            for k in self._earlier(self.place.outer.node):
                yield from self.place.steps[k].within()
            yield from self.place.outer.before()

    def _earlier(self, outer: ir.Node) -> set[int]:
        """The steps of its body that carried values which it depends on come from."""
        steps, (body, states) = self.place.steps, (self.node.graph, ports_of(outer).states)
        makers = {v: k for k, step in enumerate(steps) for v in step.node.outputs}
        assert body is not None
        carried = {body.inputs[b]: makers.get(body.outputs[out]) for _, b, out in states}
        earlier, pending = set[int](), {self.place.position}
        while pending and carried:
            pending |= {above for k in pending for above in nx.ancestors(self.place.graph, k)}
            read = {v for k in pending for v in steps[k].receivers()}
            ends = {k for v in read if (k := carried.get(v)) is not None}
            above = {k for end in ends for k in nx.ancestors(self.place.graph, end)}
            pending = (ends | above) - earlier
            earlier |= pending
        return earlier

    def behind(self) -> Iterator[Step]:
        """Its descendants on the path, nearest first, those in bodies and around them included."""
        for _, k in nx.bfs_edges(self.place.graph, self.place.position):
            yield from self.place.steps[k].within()
        if self.place.outer is not None:
            yield from self.place.outer.behind()

    def within(self) -> Iterator[Step]:
        """Itself and the steps in its bodies."""
        yield self
        for body in self.bodies:
            for step in body.steps:
                yield from step.within()


@dataclass
class Place:
    """Where a step stands: its number among the steps of its graph, and what is around them."""

    position: int
    steps: list[Step]
    graph: nx.DiGraph
    outer: Step | None
    depth: float = 0.0
    """See `lrp_onnx.analysis.depth`."""
    acts_as: str = ""
    """See `lrp_onnx.analysis.pointwise`."""


@dataclass(frozen=True)
class Body:
    """A graph inside a node on the path, with a path of its own from its inputs and from captured
    values to its outputs.
    """

    graph: ir.Graph
    steps: tuple[Step, ...]
    inputs: frozenset[int]
    """The inputs that receive relevance."""
    outputs: frozenset[int]
    """The outputs that depend on them."""
