"""What was decided for an explanation: the output, the inputs, and a rule for each node between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from lrp_onnx.graph.names import name_of
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.lrp.auto import AUTO
from lrp_onnx.lrp.composite import (
    Composite,
    Override,
)
from lrp_onnx.lrp.methods import Method
from lrp_onnx.lrp.report import NodeReport, lines_of
from lrp_onnx.lrp.target import Target
from lrp_onnx.options import CompileOptions

__all__ = ["Assignment"]


@dataclass(frozen=True)
class Assignment:
    """The explanation path with a rule on every node."""

    options: CompileOptions
    method: Method
    composite: Composite
    chosen_because: str
    """Why `auto` took that composite; empty where the user or the method names one."""
    parameters: Mapping[str, Override]
    """Those of the user, and the implied ones that a rule takes."""
    output: ir.Value
    logits: ir.Value
    """The output itself, or the logits behind a final softmax or sigmoid."""
    start_at: ir.Value
    """Where relevance starts: there, or at the logits less their mean."""
    target: Target
    start: str
    """What relevance sums to: logit, contrast or one."""
    class_axis: int | None
    inputs: tuple[ir.Value, ...]
    nodes: tuple[Assigned, ...]
    layer: ir.Value | None
    """The tensor that grad-cam is formed at."""
    warnings: tuple[str, ...]
    unrecognized: tuple[str, ...] = ()
    """The nodes on the path that look like a softmax or a norm and were not recognized as one."""
    others: tuple[Assignment, ...] = ()
    """Those of the other outputs that are explained in the same file."""
    prefix: str = ""
    """What stands in front of the names of its relevance: its output's, if there are others."""

    @property
    def each(self) -> tuple[Assignment, ...]:
        """One for each explained output."""
        return (self, *self.others)

    @property
    def composite_name(self) -> str:
        """The composite as the user or the method names it; of `auto` the one that it took."""
        name = self.options.composite or self.method.composite
        return self.composite.name if name == AUTO else name

    @property
    def steps(self) -> int:
        """How many steps a path takes."""
        return self.options.steps or self.method.steps

    @property
    def samples(self) -> int:
        """How many samples with noise are taken."""
        return self.options.samples or self.method.samples

    @property
    def noise(self) -> float:
        """Their standard deviation, as a part of the range."""
        return self.method.noise if self.options.noise is None else self.options.noise

    def report(self, graph: ir.Graph) -> list[NodeReport]:
        """A line for every node of the graph, in order; what other outputs change is in the
        reason.
        """
        nodes = {a.step.node: a for one in reversed(self.each) for a in one.nodes}
        lines = list(lines_of(graph, tuple(nodes.values())))
        return [_with_others(line, self.each) for line in lines] if self.others else lines


def _with_others(line: NodeReport, assignments: Sequence[Assignment]) -> NodeReport:
    """The line, with the rules that the node has for other outputs."""
    rules = {
        str(one.output.name): a.rule.name
        for one in assignments
        for a in one.nodes
        if name_of(a.step.node) == line.name and a.rule.name != line.rule
    }
    also = "".join(f"; {rule} for output {output!r}" for output, rule in rules.items())
    return replace(line, reason=line.reason + also)
