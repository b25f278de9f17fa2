"""The gradients at several points around or in front of the input, in copies of the network.

`OnePoint` at a time works for any network.  Where samples are independent, several points are taken
as a part of the batch, a `BatchOfPoints`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from lrp_onnx.analysis.sample_independence import (
    batch_size,
    batched_inputs,
    independent,
    is_batched,
)
from lrp_onnx.analysis.sample_places import sample_axis
from lrp_onnx.gradients.leaves import Cut
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.clone import cone, copied, reads
from lrp_onnx.graph.dtypes import HALF
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.shapes import dimensions
from lrp_onnx.lrp.assigned import Walk
from lrp_onnx.ops.registry import find

__all__ = [
    "COPY",
    "BatchOfPoints",
    "Gradients",
    "OnePoint",
    "PointPath",
    "StraightPath",
    "at_once",
    "cast_like",
    "in_dtype",
    "sample_axes",
]

COPY = "lrp/path"
BYTES = 2**29
"""What the values of all points that are taken at once may need, and their gradients as much."""
SIZES_UNKNOWN, WINDOWS_UNKNOWN = 8, 2
"""How many points are taken at once where sizes besides the batch's are unknown, and where windows
slide over those: pictures are large, and convolutions no faster side by side.
"""

Shaped = Callable[[ir.Value], ir.Shape | None]
Gradients = dict[ir.Value, ir.Value]


@dataclass(frozen=True)
class PointPath(ABC):
    """What is differentiated, and where. A point has a number, and a weight in the mean."""

    model: ir.Model
    cut: Cut
    y: ir.Value
    mask: ir.Value
    walk: Walk
    method: ClassVar[str]
    """Whose points they are."""

    @abstractmethod
    def at(self, emit: Emit, x: ir.Value, number: ir.Value, lifted: bool) -> ir.Value:
        """The leaf x at the point of that number, in the current dtype; with `lifted` at several
        points: numbers and result have an axis more, the first.
        """

    @property
    def leaves(self) -> tuple[ir.Value, ...]:
        """What differs from point to point."""
        return self.cut.leaves

    @property
    def batch(self) -> str | None:
        """The name of the batch's size, if all that varies and the explained value have one."""
        name = batch_size(self.leaves)
        return name if name == batch_size([self.y]) else None

    @property
    def roots(self) -> list[ir.Value]:
        """Everything that has one entry a sample: what varies, the other inputs, and what is made
        of those alone, as a mask is.
        """
        if self.batch is None:
            return list(self.leaves)
        roots = [*self.leaves, *batched_inputs(self.model.graph, self.batch)]
        varied, beside = set(self.leaves), []
        for node in self.nodes_behind(roots):
            read = list(reads(node))
            if node.op_type not in ("Shape", "Size") and not varied.isdisjoint(read):
                varied.update(node.outputs)
                others = (v for v in read if v not in varied and v.producer() is not None)
                beside += [v for v in others if is_batched(v, self.batch)]
        return list(dict.fromkeys((*roots, *beside)))

    def nodes_behind(self, roots: Sequence[ir.Value]) -> list[ir.Node]:
        """What lies between the roots and the explained value."""
        return cone(self.model.graph, roots, [self.y])


@dataclass(frozen=True)
class StraightPath(PointPath):
    """A point's number is the part of the way that it lies behind the baseline."""

    begin: Mapping[ir.Value, ir.Value]
    way: Mapping[ir.Value, ir.Value]
    """x - x₀ of each leaf."""

    method = "integrated-gradients"

    def at(self, emit: Emit, x: ir.Value, number: ir.Value, lifted: bool) -> ir.Value:
        """x₀ and that part of the way."""
        way, begin = self.way[x], self.begin[x]
        if lifted:
            way, begin = (emit.op("Unsqueeze", v, emit.ints(0)) for v in (way, begin))
        return emit.op("Add", emit.op("Mul", in_dtype(emit, number), way), begin)


def at_once(point_path: PointPath) -> int | None:
    """How many points fit into BYTES side by side; None where samples may meet."""
    nodes, roots = point_path.nodes_behind(point_path.roots), point_path.roots
    if point_path.batch is None or not independent(nodes, roots, point_path.batch):
        return None
    needed = sum(_bytes(v, point_path.batch) for node in nodes for v in node.outputs)
    if not math.isnan(needed):
        return max(1, BYTES // max(1, int(needed)))
    slides = any(_slides(node, point_path.batch) for node in nodes)
    return WINDOWS_UNKNOWN if slides else SIZES_UNKNOWN


def _slides(node: ir.Node, batch: str) -> bool:
    """Whether windows slide over a picture of unknown size."""
    operator, y = find(node), node.outputs[0]
    pictures = operator is not None and operator.window and len(y.shape or ()) > 3
    return bool(pictures) and math.isnan(_bytes(y, batch))


def _bytes(value: ir.Value, batch: str) -> float:
    """What one sample of a value needs; not a number where a size is unknown."""
    if value.shape is None or value.dtype is None:
        return math.nan
    sizes = dimensions(value.shape)
    behind = [math.nan if not isinstance(d, int) else d for d in sizes if d != batch]
    return math.prod(behind) * value.dtype.bitwidth / 8


class OnePoint:
    """One point: the batch stays as it is."""

    def __init__(self, point_path: PointPath) -> None:
        self.point_path = point_path

    def __call__(self, emit: Emit, number: ir.Value, weight: ir.Value) -> Gradients:
        """The weighted gradient at the point, by leaf."""
        point_path, replaced = self.point_path, {}
        for x in point_path.leaves:
            _on_behalf(emit, point_path, x)
            at_point = point_path.at(emit, x, number, lifted=False)
            replaced[x] = cast_like(emit, at_point, x)
            replaced[x].shape, replaced[x].type = x.shape, x.type
        nodes = point_path.nodes_behind(point_path.leaves)
        gradients = {}
        for x, g in _differentiated(emit, point_path, nodes, replaced, point_path.mask).items():
            _on_behalf(emit, point_path, x)
            gradients[x] = emit.op("Mul", g, in_dtype(emit, weight))
        return gradients


def sample_axes(point_path: PointPath) -> tuple[int, int] | None:
    """Along which axis the leaves hold the samples, and along which the explained value does, the
    first such; None where samples may meet.
    """
    nodes = point_path.nodes_behind(point_path.leaves)
    for axis in range(min(map(known_rank, point_path.leaves))):
        if (behind := sample_axis(nodes, point_path.leaves, axis, point_path.y)) is not None:
            return axis, behind
    return None


class BatchOfPoints:
    """Several points as a batch [points·N]: point by point, each with all samples.

    What is the same at all of them, inputs that are not explained and the mask, is repeated where
    `emit` writes when this is made.
    """

    def __init__(self, emit: Emit, point_path: PointPath, points: int) -> None:
        self.point_path, self.points, self.batch = point_path, points, str(point_path.batch)
        others = [v for v in point_path.roots if v not in point_path.leaves]
        self.others = {v: self._repeated(emit, v) for v in others}
        self.mask = self._repeated(emit, point_path.mask)
        emit.shaped(self.mask, self._shape(point_path.y))

    def __call__(self, emit: Emit, numbers: ir.Value, weights: ir.Value) -> Gradients:
        """The weighted sum of the gradients at the points, by leaf."""
        point_path = self.point_path
        replaced = self.others | {x: self._placed(emit, x, numbers) for x in point_path.leaves}
        nodes, sums = point_path.nodes_behind(point_path.roots), {}
        gradients = _differentiated(emit, point_path, nodes, replaced, self.mask, self._shape)
        for x, g in gradients.items():
            _on_behalf(emit, point_path, x)
            apart = emit.op("Reshape", g, _sizes(emit, [self.points, -1], x))
            counted = emit.op("Mul", apart, _as_column(emit, weights, x))
            sums[x] = emit.op("ReduceSum", counted, emit.ints(0), keepdims=0)
        return sums

    def _placed(self, emit: Emit, x: ir.Value, numbers: ir.Value) -> ir.Value:
        _on_behalf(emit, self.point_path, x)
        at_point = self.point_path.at(emit, x, _as_column(emit, numbers, x), lifted=True)
        joined = emit.op("Reshape", at_point, _sizes(emit, [-1], x))
        return self._like(cast_like(emit, joined, x), x)

    def _repeated(self, emit: Emit, value: ir.Value) -> ir.Value:
        _on_behalf(emit, self.point_path, value)
        once_each = emit.ints(self.points, *[1] * (known_rank(value) - 1))
        tiled = emit.op("Tile", value, once_each)
        half = value.dtype in HALF
        return self._like(cast_like(emit, tiled, value) if half else tiled, value)

    def _like(self, value: ir.Value, like: ir.Value) -> ir.Value:
        value.shape, value.type = self._shape(like), like.type
        return value

    def _shape(self, value: ir.Value) -> ir.Shape | None:
        """The shape in the wider batch."""
        if value.shape is None:
            return None
        sizes = dimensions(value.shape)
        return ir.Shape([f"{self.batch}_path" if d == self.batch else d for d in sizes])


def _on_behalf(emit: Emit, point_path: PointPath, value: ir.Value) -> None:
    emit.write_for(value, f"path/{value.name}", point_path.method)


def in_dtype(emit: Emit, number: ir.Value) -> ir.Value:
    """The value in the current dtype."""
    return number if number.dtype == emit.dtype else emit.op("Cast", number, to=int(emit.dtype))


def _as_column(emit: Emit, numbers: ir.Value, x: ir.Value) -> ir.Value:
    """One number a point as [points, 1, 1, …], to stand before the axes of x."""
    column = emit.ints(-1, *[1] * known_rank(x))
    return emit.op("Reshape", in_dtype(emit, numbers), column)


def cast_like(emit: Emit, value: ir.Value, like: ir.Value) -> ir.Value:
    """The value, of the current dtype, in another value's."""
    if like.dtype in (None, emit.dtype):
        return value
    assert like.dtype is not None
    return emit.op("Cast", value, to=int(like.dtype))


def _sizes(emit: Emit, before: Sequence[int], x: ir.Value) -> ir.Value:
    """A shape: the given sizes, then those of x behind its batch."""
    assert x.shape is not None
    behind = list(x.shape)[1:]
    known = [d for d in behind if isinstance(d, int)]
    if len(known) == len(behind):
        return emit.ints(*before, *known)
    return emit.op("Concat", emit.ints(*before), emit.op("Shape", x, start=1), axis=0)


def _differentiated(
    emit: Emit,
    point_path: PointPath,
    nodes: Sequence[ir.Node],
    replaced: Mapping[ir.Value, ir.Value],
    mask: ir.Value,
    shape: Shaped = lambda value: value.shape,
) -> Gradients:
    """The gradient of m·y in a copy of the nodes, by leaf."""
    values, copies = copied(emit.graph, nodes, replaced, COPY, shape)
    sites = [site.at_copy(values, copies) for site in point_path.cut.behind]
    ends = {x: values[x] for x in point_path.leaves}
    gradients = point_path.walk(
        emit, sites, {values.get(point_path.y, point_path.y): mask}, list(ends.values())
    )
    return {x: gradients[end] for x, end in ends.items() if end in gradients}
