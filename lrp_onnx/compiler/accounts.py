"""The accounts of a compiled model: which of its outputs say what became of relevance at a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrp_onnx.graph.annotations import AUDIT
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.names import name_of
from lrp_onnx.propagation.conservation import COLUMNS, Audit

__all__ = ["NodeAccount", "accounts_of"]


@dataclass(frozen=True)
class NodeAccount:
    """The account of one node, an output of the compiled model."""

    name: str
    op_type: str
    rule: str
    conserves: bool
    """Whether the rule conserves relevance but for what is booked."""
    output: str
    explains: str
    """The output of the model whose relevance it is."""

    def sums(self, outputs: Mapping[str, Array]) -> dict[str, float]:
        """What a run of the model booked, by the columns of `lrp_onnx.propagation.conservation`."""
        return dict(zip(COLUMNS, map(float, outputs[self.output]), strict=True))


def accounts_of(audits: Mapping[str, Audit]) -> tuple[NodeAccount, ...]:
    """The accounts in the order of the walk, from the output to the input, output by output."""
    rows = [(*row, output) for output, audit in audits.items() for row in audit.rows]
    return tuple(
        NodeAccount(
            name=name_of(site.step.node),
            op_type=site.step.node.op_type,
            rule=site.rule.name,
            conserves=conserves,
            output=f"{AUDIT}{k}",
            explains=explains,
        )
        for k, (site, _, conserves, explains) in enumerate(rows)
    )
