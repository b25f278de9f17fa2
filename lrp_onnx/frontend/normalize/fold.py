"""Constant folding: what depends on constants and known sizes alone is computed once.

Shape arithmetic is followed through partly known shapes (lrp_onnx.frontend.normalize.traced).  So
the file does not grow, a result is at most 4 kB or no larger than the constants that it replaces.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.normalize.traced import UNKNOWN, Array, Traced, all_known
from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.subgraphs import graphs_of

__all__ = ["fold"]


def fold(model: ir.Model) -> bool:
    """Replace nodes whose results are known, in bodies too, by initializers of the same name; says
    whether any was.

    Shapes behind what was folded may be inferred more sharply afterwards.  Graph outputs stay
    computed.
    """
    folding = _Folding(model.graph)
    for graph in graphs_of(model.graph):
        folding.graph = graph
        for node in list(graph):
            folding.visit(node)
    return folding.changed


class _Folding(Traced):
    """One pass in topological order; `graph` is the one that the visited node is in."""

    def __init__(self, graph: ir.Graph) -> None:
        super().__init__(graph.opset_imports[""])
        self.graph = graph
        self.changed = False

    def visit(self, node: ir.Node) -> None:
        if node.op_type == "Reshape" and not node.domain:
            self.fix_target(node)
        if any(v.is_graph_output() for v in node.outputs):
            return
        for value, array in zip(node.outputs, self.results(node) or (), strict=False):
            if all_known(array):
                dtype = array.dtype if value.dtype is None else value.dtype.numpy()
                self.replace(value, array.astype(dtype))
            else:
                self.traced[value] = array
        if not any(v.uses() for v in node.outputs) and self.changed:
            self.graph.remove(node, safe=True)

    def fix_target(self, node: ir.Node) -> None:
        """Make a Reshape's partly known target a constant: 0 copies a size, -1 is what is left."""
        x, target = node.inputs[0], node.inputs[1]
        traced = None if target is None else self.traced.get(target)
        if x is None or x.shape is None or traced is None:
            return
        own = [self.size(x, axis) for axis in range(len(x.shape))]
        sizes = [
            0 if d >= UNKNOWN and axis < len(own) and own[axis] == d else d
            for axis, d in enumerate(traced.tolist())
        ]
        left = [d for d in sizes if d >= UNKNOWN or d == -1]
        if len(left) > 1 or 0 in traced:
            return
        node.attributes.pop("allowzero", None)  # a 0 in the target now always copies
        constant = np.array([-1 if d >= UNKNOWN else d for d in sizes], np.int64)
        value = self.initializer(f"{node.outputs[0].name}/shape", constant)
        node.replace_input_with(1, value)
        self.changed = True

    def replace(self, value: ir.Value, array: Array) -> None:
        constant = self.initializer(value.name or "folded", array, freed=value)
        value.replace_all_uses_with(constant)
        self.changed = True

    def initializer(self, name: str, array: Array, freed: ir.Value | None = None) -> ir.Value:
        """A new initializer; `freed` gives its name up."""
        if freed is not None:
            freed.name = f"{name}/folded"
        array = np.ascontiguousarray(array).reshape(array.shape)
        return new_constant(self.graph, name, array, ir.DataType.from_numpy(array.dtype))
