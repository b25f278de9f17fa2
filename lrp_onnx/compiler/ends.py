"""What the original says of its ends, and what the file says of the tensors between."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph import annotations as notes
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["Ends"]


class Ends:
    """The original's inputs and outputs: their types and shapes come back as they were."""

    def __init__(self, model: ir.Model) -> None:
        values = (*model.graph.inputs, *model.graph.outputs)
        self.known = {v.name: (v.type, v.shape) for v in values}

    def restore(self, model: ir.Model, declares: bool) -> None:
        """Put back what shape inference refined, and leave the shapes in between out of the file
        but for those whose every size is a number or has a name: ONNX Runtime makes up a name for
        each size that it does not know, and the time in which it opens a file grows with the square
        of their number; with the names it removes what moves nothing (29 of 185 ReorderOutput in
        ResNet-50, 51 of 88 Reshape in MobileNetV2).

        declares: whether these names hold: a mask for more samples than the input has makes
        relevance of as many.  Inside bodies none are left, and where there is an If or a Loop none
        at all: what is not taken, or the next iteration, may be for other shapes.
        """
        nodes = list(nodes_of(model.graph))
        declares = declares and not any(node.op_type in ("If", "Loop") for node in nodes)
        ends = {*model.graph.inputs, *model.graph.outputs}
        for value in ends:
            if value.name in self.known and value.name not in notes.corrections(model):
                value.type, shape = self.known[value.name]
                value.shape = value.shape if shape is None else shape
        for node in nodes:
            outside = node.graph is model.graph
            for value in node.outputs:
                if value in ends or value.is_graph_output() or node.domain:
                    continue
                if not (declares and outside and _is_named(value)):
                    value.shape, value.type = None, None


def _is_named(value: ir.Value) -> bool:
    """Whether every size is a number or has a name."""
    if value.type is None or value.shape is None:
        return False
    return all(isinstance(d, int) or d.value is not None for d in value.shape)
