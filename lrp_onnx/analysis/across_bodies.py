"""What is known of the nodes of all graphs of a path, and where their values come from across the
bounds of bodies.

A value of a body that is a slice is, place by place, the whole that the slices are of; what an If
gives is what one of its branches gives.  Carried values and what a Loop collects are their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.graph.subgraphs import Ports

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

    def enter(self, node: ir.Node, ports: Ports, body: ir.Graph) -> None:
        """Note what a body reads slice by slice."""
        for s in ports.read if _in_one_order(ports) else ():
            if (whole := node.inputs[s.node]) is not None:
                self.wholes[body.inputs[s.body]] = whole

    def leave(self, node: ir.Node, ports: Ports, bodies: Sequence[ir.Graph]) -> None:
        """Note what the bodies of a node give."""
        alike = node.op_type == "If" or (node.op_type == "Scan" and _in_one_order(ports))
        given = [*ports.results, *((s.node, s.body) for s in ports.written)] if alike else []
        for at, within in given:
            own = tuple(v for body in bodies if (v := body.outputs[within]) in self.active)
            self.ends[node.outputs[at]] = own

    def above(self, value: ir.Value) -> tuple[ir.Value, ...]:
        """The values on the other side of the bound that it is; none where there is no bound."""
        whole = self.wholes.get(value)
        return self.ends.get(value, ()) if whole is None else (whole,)


def _in_one_order(ports: Ports) -> bool:
    """Whether all slices lie along the same axis and come in the same order."""
    return len({(s.axis, s.reverse) for s in (*ports.read, *ports.written)}) == 1
