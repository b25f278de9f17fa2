"""A linear layer that looks at each place alone: convolution of one tap, or dense layer.

W·x at each place of a picture is written as a 1 × 1 convolution or, with the channels last, as a
product of matrices.  Composites have a rule for convolutions and one for dense layers, so what the
layer is must not hang on that.  It is a convolution where a window slides over the same places: a
convolution or a pooling next to it, with nothing between that joins places.  It is dense where
there are no places (behind a global pooling), where attention, a recurrence or a dense layer along
the places joins them, and where nothing does.  So are the layers of ConvNeXt's blocks convolutions
in both spellings, those of a ViT or a PointNet dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import onnx_ir as ir

from lrp_onnx.analysis.step import Body, Step
from lrp_onnx.frontend.canonize.affine import axis_behind
from lrp_onnx.graph.constants import constants_of
from lrp_onnx.graph.windows import window_of

__all__ = ["CONVOLUTION", "is_one_tap", "set_pointwise"]

CONVOLUTION, DENSE = "Conv", "MatMul"
PRODUCTS = ("MatMul", "MatMulAdd", "Gemm")
JOINING = ("bilinear", "cell", "recurrent", "body")
"""Kinds of nodes by which each place may see the others."""


def set_pointwise(on_path: Sequence[Step]) -> None:
    """Say of each such layer of an explanation path which of both it is.

    The branches of an If have the places around them, the body of a loop has its own.
    """
    every = [inner for step in on_path for inner in step.within()]
    if not any(is_one_tap(step.node) or step.node.op_type in PRODUCTS for step in every):
        return
    _Places(on_path).decide()
    for body in (body for step in every if not _is_if(step) for body in step.bodies):
        if body.steps:
            _Places(body.steps).decide()


def is_one_tap(node: ir.Node) -> bool:
    """Whether it is a convolution that looks at each place alone."""
    weight = node.inputs[1] if node.op_type == "Conv" and not node.domain else None
    if weight is None or weight.shape is None or any(n != 1 for n in list(weight.shape)[2:]):
        return False
    return window_of(node).stays


@dataclass(frozen=True)
class _Laid:
    """How a tensor lies: the axis of its channels, if known, and whether it has several places."""

    channels: int | None
    places: bool


class _Places:
    """Which tensors of a path have the same places, and what happens to these."""

    def __init__(self, on_path: Sequence[Step]) -> None:
        graph = on_path[0].node.graph
        self.constants = set[ir.Value]() if graph is None else constants_of(graph)
        self.laid: dict[ir.Value, _Laid] = {}
        self.same: nx.Graph[ir.Value] = nx.Graph()
        self.slid: set[ir.Value] = set()
        self.joined: set[ir.Value] = set()
        self.alone: list[Step] = []
        for step in on_path:
            self._follow(step)

    def decide(self) -> None:
        """Note what each layer acts as."""
        slid = set[ir.Value]()
        for stretch in nx.connected_components(self.same):
            if self.joined.isdisjoint(stretch) and not self.slid.isdisjoint(stretch):
                slid |= stretch
        for step in self.alone:
            y = step.node.outputs[0]
            window = y in slid and self.laid[y].places
            if window != is_one_tap(step.node):
                step.place.acts_as = CONVOLUTION if window else DENSE

    def _follow(self, step: Step) -> None:
        if _is_if(step):
            for body in step.bodies:
                self._follow_branch(step, body)
            return
        entries = [v for i in step.active if (v := step.node.inputs[i]) is not None]
        alone = self._is_alone(step)
        for y in step.node.outputs:
            self.laid[y] = self._behind(step, y, entries)
        values = [*entries, *step.captured, *step.node.outputs]
        ends = [v for v in values if v not in self.laid or self.laid[v].places]
        if alone:
            self.alone.append(step)
        if not alone and (step.kind in JOINING or step.node.op_type in PRODUCTS):
            self.joined.update(ends)
        elif not alone and step.op.window:
            self.slid.update(ends if self.laid[step.node.outputs[0]].places else ())
        else:
            nx.add_path(self.same, ends)

    def _follow_branch(self, step: Step, branch: Body) -> None:
        """The steps of one branch, whose results have the places of what is handed out."""
        for inner in branch.steps:
            self._follow(inner)
        for k in branch.outputs:
            result, y = branch.graph.outputs[k], step.node.outputs[k]
            self.laid[y] = self.laid.get(result, _Laid(None, places=True))
            if self.laid[y].places:
                self.same.add_edge(result, y)

    def _is_alone(self, step: Step) -> bool:
        """Whether it is a layer of weights that looks at each place alone."""
        node = step.node
        if step.kind != "linear" or node.op_type not in PRODUCTS:
            return is_one_tap(node)
        x, w = node.inputs[step.active[0]], node.inputs[1 - step.active[0]]
        if x is None or x.shape is None or w not in self.constants:
            return False
        known = self.laid[x].channels if x in self.laid else None
        return known is None or known == _contracted(step)

    def _behind(self, step: Step, y: ir.Value, entries: Sequence[ir.Value]) -> _Laid:
        """How an output of a step lies."""
        node, sizes = step.node, None if y.shape is None else list(y.shape)
        rank = 0 if sizes is None else len(sizes)
        if step.op.window:
            return _Laid(1, sizes is None or any(n != 1 for n in sizes[2:]))
        known = [(v, self.laid[v]) for v in entries if v in self.laid]
        alike = [laid for v, laid in known if v.shape is not None and len(v.shape) == rank]
        if node.op_type in PRODUCTS:
            axis = rank - 1 - step.active[0] if len(step.active) == 1 else None
            return _Laid(axis, known[0][1].places if known else rank > 2)
        if step.op.moves == "reorders" and known:
            before = known[0][1]
            axis = None if before.channels is None else axis_behind(node, 0, before.channels)
            return _Laid(axis, before.places and (rank > 2 or axis is not None))
        channels = next((laid.channels for laid in alike if laid.channels is not None), None)
        if step.op.elementwise and alike:
            return _Laid(channels, any(laid.places for laid in alike))
        if sizes is None or channels is None:
            return _Laid(None, rank > 2)
        others = [n for k, n in enumerate(sizes) if k not in (0, channels)]
        return _Laid(channels, any(n != 1 for n in others))


def _is_if(step: Step) -> bool:
    return step.node.op_type == "If" and not step.node.domain


def _contracted(step: Step) -> int:
    """The axis of its input that a product sums over."""
    x = step.node.inputs[step.active[0]]
    return step.op.channel_axis(step.node, step.active[0]) % len((x and x.shape) or (0, 0))
