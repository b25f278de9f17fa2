"""Pooling with ceil_mode: the size that runtimes give, where shape inference has another.

With ceil_mode a last window that would start in the padding behind the input is left out, by the
specification and by the runtimes; onnx.shape_inference counts it.  Along such an axis the padding
behind is cut where the window before it ends, so that nothing is left to round up.  Where that
window ends before the input does there is nothing to cut: the node is rewritten to ceil_mode = 0,
and along an axis whose last window is kept the padding behind grows by what that window reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import onnx
from onnx import helper

from lrp_onnx.errors import ModelError
from lrp_onnx.graph.subgraphs import proto_bodies
from lrp_onnx.graph.windows import Window, window_of_proto
from lrp_onnx.ops.registry import REGISTRY

__all__ = ["cut_ceil_mode"]

Infer = Callable[[onnx.ModelProto], onnx.ModelProto]
Node = onnx.NodeProto
Graphs = tuple[onnx.GraphProto, ...]


def cut_ceil_mode(proto: onnx.ModelProto, infer: Infer) -> onnx.ModelProto:
    """Rewrite, in place, every pooling node whose inferred size would be wrong, those of bodies
    included.

    infer: shape inference of a model.  Raises ModelError for the node that has no other spelling.
    """
    for k, (node, _) in enumerate(_nodes(proto.graph)):
        operator = REGISTRY.get((node.domain, node.op_type))
        if operator is None or operator.window != "pool":
            continue
        window = window_of_proto(node)
        if window.mode != "NOTSET" or not window.rounds_up:
            continue
        sizes = _spatial_sizes(infer(proto), k)
        if sizes is not None:
            _cut(node, window, sizes)
    return proto


def _nodes(graph: onnx.GraphProto, *around: onnx.GraphProto) -> Iterator[tuple[Node, Graphs]]:
    """Every node in the order of the run, with the graph that it is in and those around that."""
    for node in graph.node:
        yield node, (graph, *around)
        for inner in proto_bodies(node):
            yield from _nodes(inner, graph, *around)


def _spatial_sizes(inferred: onnx.ModelProto, k: int) -> list[int] | None:
    """The sizes behind batch and channel of what the k-th node reads, inferred with all earlier
    nodes rewritten; 0 where only the run knows one.
    """
    node, graphs = next(islice(_nodes(inferred.graph), k, None))
    for graph in graphs:
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.name == node.input[0]:
                sizes = [d.dim_value for d in value.type.tensor_type.shape.dim[2:]]
                return sizes if any(sizes) else None
    return None


def _cut(node: onnx.NodeProto, window: Window, sizes: Sequence[int]) -> None:
    n, kernel, strides, reach = len(sizes), window.kernel or (), window.strides, window.reach or ()
    pads, more, skips = list(window.pads), [0] * n, False
    for k, size in enumerate(sizes):
        begin, end = window.padding(k)
        input_end, whole = begin + size, begin + size + end
        last = -(-(whole - reach[k]) // strides[k]) * strides[k]
        if not size or last + reach[k] <= whole:
            continue
        if last < input_end:
            more[k] = last + reach[k] - whole
            continue
        behind = last - strides[k] + reach[k] - input_end
        pads[n + k] = max(0, behind)
        skips = skips or behind < 0
    if skips:
        pads[n:] = [p + m for p, m in zip(pads[n:], more, strict=True)]
        wider = any(p >= size for p, size in zip(pads[n:], kernel, strict=True))
        if wider or not all(sizes) or (any(more) and _counts_padding(node)):
            raise ModelError(
                f"node {node.name!r} ({node.op_type}): shape inference and runtimes disagree on "
                "the size that its ceil_mode gives. Export it with explicit padding."
            )
    if skips or tuple(pads) != window.pads:
        _rewrite(node, pads, ceil_mode=not skips)


def _counts_padding(node: onnx.NodeProto) -> bool:
    return any(a.name == "count_include_pad" and a.i for a in node.attribute)


def _rewrite(node: onnx.NodeProto, pads: Sequence[int], ceil_mode: bool) -> None:
    """Other padding, and ceil_mode = 0 where it is not kept."""
    dropped = ("pads",) if ceil_mode else ("pads", "ceil_mode")
    attributes = [a for a in node.attribute if a.name not in dropped]
    del node.attribute[:]
    node.attribute.extend([*attributes, helper.make_attribute("pads", pads)])
