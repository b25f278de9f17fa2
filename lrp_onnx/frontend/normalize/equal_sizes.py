"""Sizes that only the run knows get one name where they must be equal.

onnx's inference makes up a name for every such size.  A window of stride 1 whose padding makes up
for its kernel keeps a size; the same window, or the same scale, makes the same size of the same;
what an elementwise operator reads is broadcast to what it gives, where no size but one name and 1
meet; a Reshape leaves for one axis what the others do not take; a size that a node is asked for in
numbers that come from sizes is that size.  Sums of branches then need no sizes at run time, forward
or back.

Spec: ONNX Conv-11, ConvTranspose-11, MaxPool-12, AveragePool-19, Resize-19, Reshape-14, MatMul-13,
broadcasting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from math import prod

import onnx_ir as ir

from lrp_onnx.frontend.normalize.traced import Traced
from lrp_onnx.graph.arrays import Dimension
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.constants import array_of
from lrp_onnx.graph.makers import upstream
from lrp_onnx.graph.shapes import sizes_of
from lrp_onnx.graph.windows import window_of
from lrp_onnx.ops.registry import find

__all__ = ["name_equal_sizes"]

MADE_UP = "unk__"
"""How the names begin that onnx's inference makes up."""


Sizes = list[Dimension]

ASKED = {"ConstantOfShape": 0, "Expand": 1, "Range": 1, "Reshape": 1, "Resize": 3}
"""The input that says what size the result has."""


def name_equal_sizes(graph: ir.Graph) -> None:
    """Rename sizes in the shapes of a graph's tensors; those that the model names stay."""
    names: dict[str, int | str] = {}
    made: dict[Hashable, str] = {}
    products: dict[str, Sizes] = {}
    at_most: dict[Dimension, Dimension] = {}  # where the two meet, the former is the latter or 1
    traced, holders = Traced(graph.opset_imports[""]), _that_hold_sizes(graph)
    for node in graph:
        for value in node.outputs if names else ():
            _rename(value, names)
        if node in holders:
            traced.visit(node)
        operator, y = find(node), node.outputs[0]
        if operator is None or y.shape is None or any(sizes_of(v) is None for v in _read(node)):
            continue
        for axis, size in enumerate(sizes_of(y) or ()):
            if not _is_made_up(size):
                continue
            last = axis - len(y.shape)
            if operator.window or _is_scaled(node):
                same = _of_window(node, axis, made, str(size))
            elif node.op_type in ASKED:
                same = _asked(node, last, traced, at_most)
                if node.op_type == "Reshape" and same is None:
                    same = _left(node, axis, products)
            elif node.op_type == "Slice":
                same = _beside(node, axis)
                at_most[size] = _end(node, axis, traced) if same is None else None
            else:
                same = _broadcast(node, last, at_most) if _meet(node, axis) else size
            if same is not None and same != size:
                names[str(size)] = same
        for value in node.outputs if names else ():
            _rename(value, names)


def _that_hold_sizes(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that sizes come from which are made up so far."""
    asking = [n for n in graph if n.op_type in (*ASKED, "Slice") and _has_made_up(n.outputs[0])]
    values = [v for node in asking for v in node.inputs]
    onward = upstream(values, lambda n: () if n.op_type in ("Shape", "Size") else n.inputs)
    return {node for value in onward if (node := value.producer()) is not None}


def _rename(value: ir.Value, names: dict[str, int | str]) -> None:
    sizes = sizes_of(value) or []
    if any(size in names for size in sizes):
        value.shape = ir.Shape([names.get(s, s) if isinstance(s, str) else s for s in sizes])


def _read(node: ir.Node) -> list[ir.Value]:
    return [v for v in node.inputs if v is not None]


def _has_made_up(value: ir.Value) -> bool:
    return any(map(_is_made_up, sizes_of(value) or ()))


def _is_made_up(size: Dimension) -> bool:
    return isinstance(size, str) and size.startswith(MADE_UP)


def _meet(node: ir.Node, axis: int) -> bool:
    """Whether the sizes of what a node reads are broadcast to each other along an axis."""
    operator, y = find(node), node.outputs[0]
    if node.op_type == "MatMul" and not node.domain and y.shape is not None:
        return axis < len(y.shape) - 2
    return operator is not None and operator.elementwise


def _broadcast(node: ir.Node, axis: int, at_most: Mapping[Dimension, Dimension]) -> Dimension:
    """The only size that is not 1 among those that meet along an axis, counted from the last."""
    met = {sizes[axis] for v in _read(node) if len(sizes := sizes_of(v) or []) >= -axis}
    return _of_met(met, at_most)


def _of_met(met: set[Dimension], at_most: Mapping[Dimension, Dimension]) -> Dimension:
    """What sizes are broadcast to, if that is one of them in every run."""
    others = met - {1} - {size for size in met if at_most.get(size) in met - {None}}
    if len(others) > 1:
        return None
    return others.pop() if others else 1


def _left(node: ir.Node, axis: int, products: dict[str, Sizes]) -> Dimension:
    """The size along an axis that Reshape leaves for it: all that it reads, through the others.

    products: the sizes whose product one is that is made up; this one is added.
    """
    read, others = sizes_of(_read(node)[0]) or [], sizes_of(node.outputs[0]) or []
    own = others.pop(axis)
    names, number = _factors(read, products)
    others_names, others_number = _factors(others, products)
    names.subtract(others_names)
    if None in names or min(names.values(), default=0) < 0:
        return None
    if not others_number or number % others_number:
        return None
    left = [name for name, count in names.items() for _ in range(count)]
    number //= others_number
    if not left:
        return number or None
    if len(left) > 1 or number != 1:
        products.setdefault(str(own), [*left, number])
        return None
    return left[0]


def _factors(sizes: Sizes, products: Mapping[str, Sizes]) -> tuple[Counter[Dimension], int]:
    """How often each name is a factor of a product of sizes, and the numbers among them."""
    flat = [f for size in sizes for f in products.get(str(size), [size])]
    numbers = [size for size in flat if isinstance(size, int)]
    return Counter(size for size in flat if not isinstance(size, int)), prod(numbers)


def _asked(
    node: ir.Node, axis: int, traced: Traced, at_most: Mapping[Dimension, Dimension]
) -> Dimension:
    """The size that a node is asked for along an axis, counted from the last."""
    if "axes" in node.attributes or "keep_aspect_ratio_policy" in node.attributes:
        return None  # Resize is asked for some sizes, or for a bound
    asked = traced.sizes(node.inputs[ASKED[node.op_type]])
    if node.op_type == "Range":
        first, step = (traced.sizes(node.inputs[k]) for k in (0, 2))
        asked = asked if (first, step) == ([0], [1]) else None
    size = asked[axis] if asked is not None and len(asked) >= -axis else None
    if isinstance(size, int) and size <= 0:  # 0 keeps a size, -1 is what is left
        size = None
    if node.op_type != "Expand" or size is None:
        return size
    read = (sizes_of(node.inputs[0]) or [])[axis:][:1] if node.inputs[0] is not None else []
    return _of_met({size, *read}, at_most)


def _is_scaled(node: ir.Node) -> bool:
    """Whether it is a Resize that has no sizes."""
    return node.op_type == "Resize" and (len(node.inputs) < 4 or node.inputs[3] is None)


def _beside(node: ir.Node, axis: int) -> Dimension:
    """The size along an axis that Slice does not cut."""
    sizes, cut = _cut(node)
    return None if sizes is None or cut is None or axis in cut else sizes[axis]


def _end(node: ir.Node, axis: int, traced: Traced) -> Dimension:
    """The size up to which Slice takes what lies along an axis, from its first of several."""
    sizes, cut = _cut(node)
    ends, starts = traced.sizes(node.inputs[2]), traced.sizes(node.inputs[1])
    steps = traced.sizes(node.inputs[4]) if len(node.inputs) > 4 else [1] * len(cut or ())
    if cut is None or axis not in cut or starts is None or ends is None or steps is None:
        return None
    if sizes is None or not isinstance(sizes[axis], int) or not sizes[axis]:
        return None  # there may be none to take
    k = cut.index(axis)
    return ends[k] if (starts[k], steps[k]) == (0, 1) and isinstance(ends[k], str) else None


def _cut(node: ir.Node) -> tuple[list[Dimension] | None, list[int] | None]:
    """The sizes that Slice reads, and the axes that it cuts."""
    x, axes = node.inputs[0], constant_ints(node.inputs[3]) if len(node.inputs) > 3 else None
    sizes = None if x is None else sizes_of(x)
    if sizes is None or axes is None:
        return sizes, None
    return sizes, [k % len(sizes) for k in axes]


def _of_window(node: ir.Node, axis: int, made: dict[Hashable, str], name: str) -> Dimension:
    """What the size is called that a node makes of the one that it reads along an axis."""
    read = (sizes_of(_read(node)[0]) or [])[axis]
    window = _scale(node, axis) if node.op_type == "Resize" else _window(node, axis - 2)
    if read is None or window is None:
        return None
    return read if window == KEEPS else made.setdefault((node.op_type, read, window), name)


KEEPS = ("keeps",)


def _scale(node: ir.Node, axis: int) -> Hashable:
    scales = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or scales.size <= axis or "axes" in node.attributes:
        return None
    return KEEPS if scales[axis] == 1 else float(scales[axis])


def _window(node: ir.Node, k: int) -> Hashable:
    """All that decides what a window makes of a size along spatial axis k; KEEPS where it keeps
    it.
    """
    window = window_of(node)
    if window.kernel is None or window.reach is None or k < 0 or "output_shape" in node.attributes:
        return None
    stride, extra, around = window.strides[k], window.output_padding[k], window.reach[k] - 1
    same = window.mode.startswith("SAME") and stride == 1
    padding = around if same else sum(window.padding(k))
    if stride == 1 and padding == around and not extra:
        return KEEPS
    # rounded up, a last window that would start behind the input is left out: where it starts
    # depends on the padding in front
    up = window.padding(k)[:1] if window.rounds_up else ()
    return window.kernel[k], stride, window.dilations[k], extra, padding, window.mode, up
