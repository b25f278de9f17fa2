"""Whether a network's samples are independent as far as shapes and operators show, so that points
may be more samples of the batch.

They are if the batch is axis 0, of a size that only the run knows, and every node that the
explained value depends on leaves it there: what it makes has that size along axis 0 and along no
other, and the operator does not mix entries along axis 0, as its record says.  It may lie along
other axes in between, as around recurrent layers, and in bodies of Scan (moved_samples.py).  What
is made of other sizes than the batch's alone, positions for example, is common to all samples.  Any
other counts as mixing.  Where samples of any batch lie: sample_places.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest

import onnx_ir as ir

from lrp_onnx.analysis.moved_samples import places_behind
from lrp_onnx.analysis.sample_place import Mixed, Place, Places
from lrp_onnx.frontend.normalize.traced import Traced
from lrp_onnx.graph.clone import reads
from lrp_onnx.graph.shapes import dimension_of, sizes_of
from lrp_onnx.graph.subgraphs import bodies_of, ports_of
from lrp_onnx.ops.registry import find

__all__ = ["batch_size", "batched_inputs", "independent", "is_batched"]


def batch_size(values: Sequence[ir.Value]) -> str | None:
    """The name of the batch's size, along axis 0 of every tensor; None if there is none."""
    sizes = {_first(value) for value in values}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, str) else None


def batched_inputs(graph: ir.Graph, batch: str) -> list[ir.Value]:
    """The graph's inputs that hold the batch along axis 0."""
    return [v for v in graph.inputs if _first(v) == batch]


def independent(nodes: Sequence[ir.Node], roots: Collection[ir.Value], batch: str) -> bool:
    """Whether no node mixes samples; `nodes` are all that depend on the `roots`, in order."""
    if not all(is_batched(value, batch) for value in roots):
        return False
    graph = nodes[0].graph if nodes else None
    walk = _Samples(roots, batch, 0 if graph is None else graph.opset_imports[""])
    return all(map(walk.keeps_apart, nodes))


class _Samples:
    """What holds samples, and along which axis."""

    def __init__(self, roots: Collection[ir.Value], batch: str, opset: int) -> None:
        self.batch = batch
        self.axes = dict.fromkeys(roots, 0)
        self.sizes = _Sizes(batch, opset)

    def keeps_apart(self, node: ir.Node) -> bool:
        """Whether a node mixes no samples; what it gives is noted."""
        of_samples = [v for v in reads(node) if v in self.axes]
        if self.sizes.holds_some(node, of_samples):
            return True
        if not of_samples and not self._fills(node):
            return False  # a number made of the batch's size
        first = all(is_batched(v, self.batch) for v in node.outputs if v.uses())
        if not first or any(self.axes[v] for v in of_samples):
            return self._keeps_apart_along(node, of_samples)
        if of_samples and not _keeps_apart(node, self.axes):
            return False
        self.axes.update(dict.fromkeys(node.outputs, 0))
        return True

    def _keeps_apart_along(self, node: ir.Node, of_samples: Collection[ir.Value]) -> bool:
        """The same along any axis."""
        behind: Sequence[int | None]
        if not of_samples:
            behind = [_only_axis(v, self.batch) for v in node.outputs]
        elif node.op_type == "Scan" and not node.domain:
            behind = self._behind_scan(node)
        else:
            behind = self._behind(node)
        for value, axis in zip_longest(node.outputs, behind):
            if axis is not None and _only_axis(value, self.batch) == axis:
                self.axes[value] = axis
            elif value.uses() or value.is_graph_output():
                return False
        return True

    def _behind(self, node: ir.Node) -> Sequence[int | None]:
        """The axes of a node's outputs."""
        samples = [v for v in node.inputs if v is not None and v in self.axes]
        places: Places = {v: Place(self.axes[v]) for v in samples}
        try:
            return [] if bodies_of(node) else [p.axis for p in places_behind(node, places)]
        except Mixed:
            return []

    def _behind_scan(self, node: ir.Node) -> Sequence[int | None]:
        """The axes of its outputs, where its body keeps apart what each step holds."""
        ports, (body,) = ports_of(node), bodies_of(node)
        for n, b, _ in ports.states:
            self._enter(node.inputs[n], body.inputs[b])
        for s in ports.read:
            whole = node.inputs[s.node]
            if whole is not None and self.axes.get(whole) == s.axis:
                return []  # one sample after the other
            self._enter(node.inputs[s.node], body.inputs[s.body], s.axis)
        if not all(map(self.keeps_apart, body)):
            return []
        behind = list[int | None]()
        for _, b, out in ports.states:
            before, after = (self.axes.get(v) for v in (body.inputs[b], body.outputs[out]))
            if before != after:
                return []
            behind.append(after)
        for s in ports.written:
            axis = self.axes.get(body.outputs[s.body])
            behind.append(None if axis is None else axis + (s.axis <= axis))
        return behind

    def _enter(self, outside: ir.Value | None, inside: ir.Value, cut: int | None = None) -> None:
        """Note what a body's input holds: all of a value, or slices along the axis `cut`."""
        axis = self.axes.get(outside) if outside is not None else None
        if axis is not None:
            self.axes[inside] = axis - (cut is not None and cut < axis)

    def _fills(self, node: ir.Node) -> bool:
        """Whether its output is one constant again and again."""
        operator = find(node)
        if operator is None or not operator.fills:
            return False
        repeated = node.inputs[0] if operator.moves else None
        return repeated not in self.sizes.of_batch


class _Sizes:
    """What is made of sizes alone: of the batch's, or common to all samples."""

    def __init__(self, batch: str, opset: int) -> None:
        self.batch = batch
        self.of_batch = set[ir.Value]()
        self.traced = Traced(opset)

    def holds_some(self, node: ir.Node, of_samples: Collection[ir.Value]) -> bool:
        """Whether a node gives such, which is noted."""
        if not of_samples and self.of_batch.isdisjoint(reads(node)):
            return True
        integers = all(map(_is_integer, node.outputs))
        if integers and self._without_batch(node):
            return True
        if node.op_type != "Shape" and (
            of_samples or not integers or any(_first(v) == self.batch for v in node.outputs)
        ):
            return False
        self.of_batch.update(node.outputs)
        return True

    def _without_batch(self, node: ir.Node) -> bool:
        """Whether a node gives the sizes of one sample, or a part of those of all."""
        if node.op_type == "Shape" and not self.of_batch.isdisjoint(node.inputs):
            return False
        self.traced.visit(node)
        return all(self.batch not in (self.traced.sizes(v) or [self.batch]) for v in node.outputs)


def _keeps_apart(node: ir.Node, samples: Collection[ir.Value]) -> bool:
    """Whether the operator leaves entries of axis 0 apart, its output being batched."""
    inputs = [i for i, v in enumerate(node.inputs) if v in samples]
    if not inputs or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
        return False
    operator = find(node)
    return operator is not None and operator.samples_apart(node, inputs)


def _only_axis(value: ir.Value, batch: str) -> int | None:
    """The one axis that has the batch's size."""
    sizes = sizes_of(value) or []
    return sizes.index(batch) if sizes.count(batch) == 1 else None


def is_batched(value: ir.Value, batch: str) -> bool:
    """Whether axis 0 has the batch's size, and no other axis."""
    if value.shape is None or not len(value.shape) or _first(value) != batch:
        return False
    return all(dimension_of(d) != batch for d in list(value.shape)[1:])


def _first(value: ir.Value) -> str | int | None:
    """The size along axis 0, or its name, if it has one."""
    return None if value.shape is None or not len(value.shape) else dimension_of(value.shape[0])


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and not value.dtype.is_floating_point()
