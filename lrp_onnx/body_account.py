"""The account of an If, Loop or Scan: what the nodes in its bodies book, summed over iterations.

Each run of a body sums up its own nodes' accounts; the sums leave the body beside the relevance.
Dropped is also what starts at an output of the body that nothing explained leads to, and what
reaches a constant state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.audit import COLUMNS, Audit
from lrp_onnx.emit import Emit
from lrp_onnx.site import Assigned

__all__ = ["BOOKED", "BodyAccount"]

BOOKED = ("magnitude", "bias", "stabiliser", "dropped")
"""What a run of a body hands out: Σ|R_out| over its nodes, and what took of their relevance."""


@dataclass
class BodyAccount:
    """Collects while a node's bodies are walked back."""

    conserves: bool = True
    booked: ir.Value | None = None
    """The sums over all runs, shape [4]."""
    lost: list[ir.Value] = field(default_factory=list)
    """Relevance that left the bodies for nothing explained."""

    def of_run(
        self,
        emit: Emit,
        inside: Audit,
        start: Mapping[ir.Value, ir.Value],
        nodes: Sequence[Assigned],
        wanted: Collection[ir.Value],
    ) -> ir.Value:
        """BOOKED of one run: of the nodes `inside`, and of relevance that starts for nothing."""
        self.conserves &= all(conserves for *_, conserves in inside.rows)
        total = self.nothing(emit)
        columns = emit.ints(*(COLUMNS.index(name) for name in BOOKED))
        for _, row, _ in inside.rows:
            own = emit.op("Gather", row, columns, axis=0)
            total = emit.op("Add", total, emit.op("Cast", own, to=int(emit.dtype)))
        reached = {v for site in nodes for v in site.step.node.outputs} | set(wanted)
        for value, r in start.items():
            if value not in reached:
                total = emit.op("Add", total, self.dropped(emit, r))
        return total

    def nothing(self, emit: Emit) -> ir.Value:
        """Where the sums begin."""
        return emit.constant([0.0] * len(BOOKED))

    def dropped(self, emit: Emit, r: ir.Value) -> ir.Value:
        """Relevance that is lost, as BOOKED."""
        last = emit.constant([0.0] * (len(BOOKED) - 1) + [1.0])
        lost = emit.op("ReduceSum", r, keepdims=0)
        return emit.op("Mul", last, emit.op("Cast", lost, to=int(emit.dtype)))

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
