"""The account of an If, Loop or Scan: what the nodes in its bodies book, summed over iterations.

Each run of a body sums up its own nodes' accounts; the sums leave the body beside the relevance.
Dropped is also what starts at an output of the body that nothing explained leads to, and what
reaches a constant state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.propagation.conservation import COLUMNS, Audit

__all__ = ["BOOKED", "BodyAccount", "untaken"]

BOOKED = ("magnitude", "bias", "stabilizer", "dropped", "inside")
"""What a run of a body hands out: Σ|R_out| over its nodes, what took of their relevance, and by how
much their accounts are off."""
RESIDUAL = {"out": 1.0, "in": -1.0, "bias": -1.0, "stabilizer": -1.0, "dropped": -1.0}
"""What of a node's relevance is not accounted for, as a sum over its account."""


@dataclass
class BodyAccount:
    """Collects while a node's bodies are walked back."""

    conserves: bool = True
    booked: ir.Value | None = None
    """The sums over all runs, one of each."""
    lost: list[ir.Value] = field(default_factory=list)
    """Relevance that left the bodies for nothing explained."""

    def of_run(self, emit: Emit, inside: Audit, lost: Sequence[ir.Value]) -> ir.Value:
        """BOOKED of one run: of the nodes `inside`, and of relevance that nothing takes."""
        self.conserves &= all(conserves for *_, conserves in inside.rows)
        total = self.nothing(emit)
        columns = emit.ints(*(COLUMNS.index(name) for name in BOOKED))
        for _, row, _ in inside.rows:
            own = emit.op("Cast", row, to=int(emit.dtype))
            total = emit.op("Add", total, emit.op("Gather", own, columns, axis=0))
            factors = emit.constant([RESIDUAL.get(name, 0.0) for name in COLUMNS])
            off = emit.op("Abs", emit.op("ReduceSum", emit.op("Mul", own, factors), keepdims=0))
            total = emit.op("Add", total, self.only(emit, "inside", off))
        for r in lost:
            total = emit.op("Add", total, self.dropped(emit, r))
        return total

    def nothing(self, emit: Emit) -> ir.Value:
        """Where the sums begin."""
        return emit.constant([0.0] * len(BOOKED))

    def dropped(self, emit: Emit, r: ir.Value) -> ir.Value:
        """Relevance that is lost, as BOOKED."""
        lost = emit.op("ReduceSum", r, keepdims=0)
        return self.only(emit, "dropped", emit.op("Cast", lost, to=int(emit.dtype)))

    def only(self, emit: Emit, name: str, number: ir.Value) -> ir.Value:
        """A number at its place in BOOKED."""
        return emit.op("Mul", emit.constant([float(name == other) for other in BOOKED]), number)

    def like(self, emit: Emit) -> ir.Value:
        """What the sums are shaped like."""
        kind = ir.TensorType(emit.dtype)
        return ir.Value(name=emit.fresh("lrp"), shape=ir.Shape([len(BOOKED)]), type=kind)

    def close(self, emit: Emit) -> list[ir.Value]:
        """BOOKED of the node, one number each."""
        total = self.nothing(emit) if self.booked is None else self.booked
        for r in self.lost:
            total = emit.op("Add", total, self.dropped(emit, r))
        return [emit.op("Gather", total, emit.ints(k), axis=0) for k in range(len(BOOKED))]


def untaken(
    start: Mapping[ir.Value, ir.Value], nodes: Sequence[Assigned], wanted: Collection[ir.Value]
) -> list[ir.Value]:
    """The relevance that starts where no node takes it and nothing is wanted."""
    taken = {v for site in nodes for v in site.step.node.outputs} | set(wanted)
    return [r for value, r in start.items() if value not in taken]
