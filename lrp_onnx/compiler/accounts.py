"""Which output of a compiled model says what became of relevance at a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrp_onnx.graph.annotations import ACCOUNT_COLUMNS
from lrp_onnx.graph.arrays import Array

__all__ = ["NodeAccount"]


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
        """What a run of the model booked, by ACCOUNT_COLUMNS."""
        return dict(zip(ACCOUNT_COLUMNS, map(float, outputs[self.output]), strict=True))
