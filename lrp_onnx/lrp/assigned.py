"""A node on the explanation path with its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.analysis.step import Step
from lrp_onnx.graph.subgraphs import bodies_of
from lrp_onnx.lrp.rule import Rule, Setting

__all__ = ["Assigned", "Walk"]

Walk = Callable[..., dict[ir.Value, ir.Value]]
"""The backward pass, `propagation/backward_pass.py`, as those who are handed it know it: builder,
assigned nodes, where relevance starts and at which tensors it is wanted → their relevance."""


@dataclass(frozen=True)
class Assigned:
    """A node on the path with its rule, the values of the rule's parameters, and why."""

    step: Step
    rule: Rule
    settings: Mapping[str, Setting]
    reason: str
    bodies: tuple[tuple[Assigned, ...], ...] = ()
    """The nodes on the path in each of its bodies."""
    may_be_unused: bool = False
    """Whether its values may be NaN or infinite where no relevance arrives."""

    def at_copy(
        self, values: Mapping[ir.Value, ir.Value], twins: Mapping[ir.Node, ir.Node]
    ) -> Assigned:
        """The same at the copy of its node.

        values, twins: of each value and node that was copied, the copy.
        """
        node = twins[self.step.node]
        bodies = tuple(
            replace(body, graph=graph)
            for body, graph in zip(self.step.bodies, bodies_of(node), strict=False)
        )
        captured = tuple(values.get(v, v) for v in self.step.captured)
        step: Step = replace(self.step, node=node, captured=captured, bodies=bodies)
        inner = tuple(tuple(s.at_copy(values, twins) for s in nodes) for nodes in self.bodies)
        return replace(self, step=step, bodies=inner)
