"""What is known of the nodes of all graphs of a path, and where their values come from across the
bounds of bodies.

A value of a body that is a slice is, place by place, the tensor that the slices are of; what an If
gives is what one of its branches gives, and what the other bodies give slice by slice is what the
slices are.  Carried values are their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.graph.subgraphs import Ports, read_slices

__all__ = ["AcrossBodies"]


@dataclass
class AcrossBodies:
    """The nodes that were looked at, those in bodies too."""

    carried: dict[ir.Node, tuple[int, ...]] = field(default_factory=dict)
    """The inputs of a node that relevance goes to."""
    kinds: dict[ir.Node, str] = field(default_factory=dict)
    active: set[ir.Value] = field(default_factory=set)
    """The values of any graph that depend on an explained input."""
    wholes: dict[ir.Value, ir.Value] = field(default_factory=dict)
    """Slices that a body reads → what they are slices of."""
    ends: dict[ir.Value, tuple[ir.Value, ...]] = field(default_factory=dict)
    """What bodies give → the active values inside that it is."""

    def enter(self, node: ir.Node, ports: Ports) -> None:
        """Note what a node's body reads slice by slice."""
        if node.op_type == "Loop" or _in_one_order(ports):
            self.wholes.update((s.part, s.whole) for s in read_slices(node))

    def leave(self, node: ir.Node, ports: Ports, bodies: Sequence[ir.Graph]) -> None:
        """Note what the bodies of a node give."""
        slices = [(s.node, s.body) for s in ports.written] if _in_one_order(ports) else []
        for at, within in (*ports.results, *slices):
            own = tuple(v for body in bodies if (v := body.outputs[within]) in self.active)
            self.ends[node.outputs[at]] = own

    def above(self, value: ir.Value) -> tuple[ir.Value, ...]:
        """The values on the other side of the bound that it is; none where there is no bound."""
        whole = self.wholes.get(value)
        return self.ends.get(value, ()) if whole is None else (whole,)


def _in_one_order(ports: Ports) -> bool:
    """Whether all slices lie along the same axis and come in the same order."""
    return len({(s.axis, s.reverse) for s in (*ports.read, *ports.written)}) == 1
