"""A product with unfolded windows is a convolution.

Frameworks without convolutions, and those that write them as products, lay the windows of a picture
out as the rows of a matrix:

    y[q, m] = Σₖ v[q, k]·W[k, m],    v[q, k] = x[c(k), s·q + o(k)], 0 outside of x.

What the nodes between x and v do is read off a run with numbers in place of x's elements: Pad and
Gather, slices that are joined, a space-to-depth, patches by Reshape and Transpose.  If it is
windows of one size and stride, W holds their kernel; a window of one element is no convolution.
Source: Chellapilla et al. 2006, High performance convolutional neural networks for document
processing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.constant_values import constant_array
from lrp_onnx.graph.constants import Float, stored
from lrp_onnx.graph.evaluation import evaluate
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build, attribute
from lrp_onnx.graph.windows import window_of

__all__ = ["unfolded_windows"]

Array = NDArray[Any]

LAYING = ("Pad", "Gather", "Concat", "Slice", "Split", "SpaceToDepth")
REORDERS = (*LAYING, "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity")
"""What may lie between x and v; without one of LAYING, patches need a Reshape of rank PARTED."""
PARTED = 5
MOST_NODES = 64
"""As many nodes lay windows out at most."""
MOST = 1 << 22
"""Elements of the largest matrix that is looked at."""


TILES = 3
"""As many windows stand along an axis of a size that only the run knows."""


@dataclass(frozen=True)
class _Windows:
    """Kernel (M, C, *size), strides, rows of padding, and how many windows each axis has."""

    kernel: Float
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    count: tuple[int, ...]
    in_place: bool = False
    """Whether the product has its results where the convolution has them."""


@dataclass(frozen=True)
class _Product:
    """v times a matrix (K, M), where v has its K elements a row along an axis."""

    v: ir.Value
    matrix: Float
    axis: int


@each("MatMul", "Gemm", "Conv")
def unfolded_windows(view: View, node: ir.Node) -> bool:
    """Write such a product as a convolution, whose result is then laid out like the product's."""
    product = _product_of(node, view.constants)
    moves = [] if product is None else _reorderings(product.v, view.constants)
    if product is None or not any(map(_lays_out, moves)):
        return False
    for x in _entries(moves, view.constants):
        for axis in dict.fromkeys((1, len(x.shape or ()) - 1)):
            if not _is_wider(x, axis, len(product.matrix)):
                continue
            windows = _windows_of(x, axis, product, moves)
            if windows is not None and _write(view.graph, node, x, axis, windows, product):
                return True
    return False


def _product_of(node: ir.Node, constants: set[ir.Value]) -> _Product | None:
    """What is multiplied by a matrix: in a product, or by a kernel of one element."""
    at = 0 if node.op_type != "Conv" and node.inputs[0] in constants else 1
    v, weight = node.inputs[1 - at], _weight(node.inputs[at], constants)
    if v is None or weight is None or v in constants:
        return None
    if node.op_type == "Conv":
        alone = set(weight.shape[2:]) == {1} and window_of(node).stays
        if not alone or attribute(node, "group", 1) != 1:
            return None
        return _Product(v, weight.reshape(len(weight), -1).T.astype(np.float64), 1)
    gemm = node.op_type == "Gemm"
    if weight.ndim != 2 or (gemm and (at == 0 or attribute(node, "transA", 0))):
        return None
    turned = attribute(node, "transB", 0) if gemm else at == 0
    matrix = (weight.T if turned else weight).astype(np.float64)
    return _Product(v, matrix, -1 if at else -2)


def _weight(value: ir.Value | None, constants: set[ir.Value]) -> Array | None:
    """An initializer, or what is moved from one."""
    if value is None or value not in constants or value.is_initializer():
        return stored(value)
    return _run({}, _reorderings(value, set()), value)


def _reorderings(v: ir.Value, constants: set[ir.Value]) -> list[ir.Node]:
    """The nodes that only move elements in front of a value, the first ones first."""
    laying, pending = dict[ir.Node, None](), [v]
    while pending:
        node = made_by(pending.pop(), *REORDERS)
        if node is None or node in laying:
            continue
        laying[node] = None
        if len(laying) > MOST_NODES:
            return []
        pending += _reordered(node, constants)
    ordered = list[ir.Node]()
    while len(ordered) < len(laying):
        left = [n for n in laying if n not in ordered]
        ordered += [
            n for n in left if not {v.producer() for v in _reordered(n, constants)} & {*left}
        ]
    return ordered


def _reordered(node: ir.Node, constants: set[ir.Value]) -> list[ir.Value]:
    """The inputs whose elements it moves."""
    own = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return [v for v in own if v is not None and v not in constants]


def _lays_out(node: ir.Node) -> bool:
    shape = node.outputs[0].shape
    parted = node.op_type == "Reshape" and shape is not None and len(shape) >= PARTED
    return parted or (node.op_type in LAYING and not node.domain)


def _entries(moves: list[ir.Node], constants: set[ir.Value]) -> Iterator[ir.Value]:
    """The tensors that all elements may come from, the first one first."""
    made = {value for node in moves for value in node.outputs}
    outer = {v for node in moves for v in _reordered(node, constants) if v not in made}
    left = [*moves]
    while len(outer) == 1 and any(map(_lays_out, left)):
        (x,) = outer
        yield x
        readers = [node for node in left if x in node.inputs]
        if len(readers) != 1 or len(readers[0].outputs) != 1:
            return
        left.remove(readers[0])
        outer = {readers[0].outputs[0]}


def _windows_of(x: ir.Value, axis: int, product: _Product, moves: list[ir.Node]) -> _Windows | None:
    """What the product is, the channels of x along an axis."""
    matrix = product.matrix
    sizes = [*(x.shape or ())]
    batch, *rest = (n if isinstance(n, int) else 0 for n in sizes)
    batch, is_open = batch or 1, 0 in rest and product.axis == 1
    if is_open:
        rest = [n or TILES * prod(attribute(m, "blocksize", 1) for m in moves) for n in rest]
    shape = (batch, *rest)
    if 0 in shape or prod(shape) > MOST:
        return None
    places = _places(x, shape, product.v, moves)
    if places is None or not _divides(places, batch * len(matrix)) or places.ndim < 2:
        return None
    places = np.moveaxis(places, product.axis, -1)
    if places.shape[-1] != len(matrix):
        return None
    rows = places.reshape(batch, -1, len(matrix))
    offsets = np.arange(batch).reshape(-1, 1, 1) * prod(shape[1:])
    if (np.where(rows > 0, rows - offsets, 0) != rows[:1]).any():
        return None  # samples are not apart
    windows = _fit(rows[0].astype(np.int64), shape[1:], axis - 1, matrix)
    if windows is None or (is_open and any(windows.pads)):
        return None
    in_place = product.axis == 1 and places.shape[1:-1] == windows.count
    return replace(windows, in_place=in_place) if in_place or not is_open else None


def _is_wider(x: ir.Value, axis: int, columns: int) -> bool:
    """Whether a row holds more than the channels of one place."""
    channels = x.shape[axis] if x.shape is not None and len(x.shape) in (3, 4) else None
    return isinstance(channels, int) and columns > channels


def _divides(array: Array, size: int) -> bool:
    return 0 < array.size <= MOST and array.size % size == 0


def _places(
    x: ir.Value, shape: tuple[int, ...], v: ir.Value, moves: Sequence[ir.Node]
) -> Array | None:
    """Which element of x, counted from 1, stands where in v; 0 where there is none."""
    numbers = np.arange(1.0, prod(shape) + 1).reshape(shape)
    once, twice = (_run({x: numbers * k}, moves, v) for k in (1, 2))
    # what is no element of x and not 0 stays as it is
    return once if once is not None and twice is not None and (twice == 2 * once).all() else None


def _run(known: dict[ir.Value, Array], moves: Sequence[ir.Node], v: ir.Value) -> Array | None:
    """The value of v, where some are given."""
    held = {**known}
    for node in moves:
        if held.keys() >= {*node.outputs}:
            continue
        if any(_is_large(value) for value in node.outputs):
            return None
        arrays = [constant_array(v) if v not in held else held[v] for v in node.inputs]
        if any(a is None and v is not None for a, v in zip(arrays, node.inputs, strict=True)):
            continue
        opset = 18 if node.graph is None else node.graph.opset_imports.get("", 18)
        results = evaluate(node, arrays, opset)
        if results is None:
            return None
        held.update(zip(node.outputs, results, strict=True))
    return held.get(v)


def _is_large(value: ir.Value) -> bool:
    """Whether it has more elements than are looked at, the batch apart, or nobody knows."""
    sizes = None if value.shape is None else [n for n in value.shape if isinstance(n, int)]
    return sizes is None or prod(sizes) > MOST


def _fit(rows: Array, shape: tuple[int, ...], axis: int, matrix: Float) -> _Windows | None:
    """The windows that rows of places are: x of a shape has its channels along an axis."""
    inside = rows > 0
    seen = inside.any(0)
    rows, inside, matrix = rows[:, seen], inside[:, seen], matrix[seen]
    if not seen.any() or len(rows) < 2:
        return None
    where = list(np.unravel_index(np.maximum(rows - 1, 0), shape))
    channel, first = where.pop(axis), inside.argmax(0)
    columns = np.arange(rows.shape[1])
    if ((channel != channel[first, columns]) & inside).any():
        return None
    spatial = tuple(n for k, n in enumerate(shape) if k != axis)
    for count in _grids(len(rows), len(spatial)):
        steps = _steps(np.stack(where), inside, count, spatial)
        if steps is not None:
            strides, offsets = steps
            channels = channel[first, columns]
            return _kernel(channels, shape[axis], offsets, strides, count, spatial, matrix)
    return None


def _grids(number: int, rank: int) -> Iterator[tuple[int, ...]]:
    """How windows of a number may stand along the axes."""
    if rank == 1:
        yield (number,)
        return
    for first in range(1, number + 1):
        if number % first == 0:
            yield first, number // first


def _steps(
    where: Array, inside: Array, count: tuple[int, ...], spatial: tuple[int, ...]
) -> tuple[tuple[int, ...], Array] | None:
    """Strides, and each column's place in the first window, if x is read where they say."""
    grid = np.indices(count).reshape(len(count), -1)
    widest, strides = int(inside.sum(0).argmax()), []
    rows = np.flatnonzero(inside[:, widest])
    for k, n in enumerate(count):
        at = grid[k, rows]
        low, high = rows[at.argmin()], rows[at.argmax()]
        far = int(grid[k, high] - grid[k, low])
        shift = int(where[k, high, widest] - where[k, low, widest])
        if (n > 1 and not far) or (far and shift % far) or (far and shift < far):
            return None
        strides.append(shift // far if far else 1)
    shifts = grid * np.reshape(strides, (-1, 1))
    first = inside.argmax(0)
    offsets = where[:, first, np.arange(inside.shape[1])] - shifts[:, first]
    expected = shifts[:, :, None] + offsets[:, None, :]
    limits = np.reshape(spatial, (-1, 1, 1))
    within = ((expected >= 0) & (expected < limits)).all(0)
    if (within != inside).any() or ((expected != where) & inside).any():
        return None
    return tuple(strides), offsets


def _kernel(
    channels: Array, number: int, offsets: Array, strides: tuple[int, ...],
    count: tuple[int, ...], spatial: tuple[int, ...], matrix: Float,
) -> _Windows | None:  # fmt: skip
    """The kernel with what each column weighs, and the padding that its windows need."""
    begin, size = -offsets.min(1), np.ptp(offsets, 1) + 1
    last = (np.array(count) - 1) * strides
    end = last + size - begin - np.array(spatial)
    spare = [-(s - 1) <= e < 0 for s, e in zip(strides, end, strict=True)]
    end = np.where(spare, 0, end)  # a stride leaves rows over
    if (begin < 0).any() or (end < 0).any() or number * prod(size) * matrix.shape[1] > MOST:
        return None
    kernel = np.zeros((number, *size, matrix.shape[1]))
    np.add.at(kernel, (channels, *(offsets + begin.reshape(-1, 1))), matrix)
    pads = (*map(int, begin), *map(int, end))
    return _Windows(np.moveaxis(kernel, -1, 0), strides, pads, count)


def _write(
    graph: ir.Graph, node: ir.Node, x: ir.Value, axis: int, windows: _Windows, product: _Product
) -> bool:
    build, y, rank = Build(graph, node, "windows"), node.outputs[0], len(x.shape or ())
    if x.dtype is None or y.shape is None:
        return False
    if not windows.in_place and sum(not isinstance(n, int) for n in y.shape) > 1:
        return False
    order = [0, axis, *(k for k in range(1, rank) if k != axis)]
    channels_first = x if axis == 1 else build.op("Transpose", x, perm=order)
    own = {"strides": windows.strides, "pads": windows.pads, "named": node.name}
    kernel = build.constant(windows.kernel, x.dtype, "weight")
    biased = [v for v in node.inputs[2:] if v is not None]
    of_conv = biased if node.op_type == "Conv" else []
    result = build.op("Conv", channels_first, kernel, *of_conv, **own)
    batch = None if x.shape is None else x.shape[0]
    result.type, result.shape = x.type, ir.Shape([batch, len(windows.kernel), *windows.count])
    if windows.in_place:
        build.replace(result)
        return True
    if product.axis == -1:
        result = build.op("Transpose", result, perm=[0, *range(2, rank), 1])
    sizes = [n if isinstance(n, int) else -1 for n in y.shape]
    result = build.op("Reshape", result, build.ints(*sizes), like=y)
    for bias in biased[len(of_conv) :]:
        result = build.op("Add", result, bias, like=y)
    build.replace(result)
    return True
