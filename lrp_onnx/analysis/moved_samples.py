"""How one node moves the samples of a batch: along which axis of its result they lie.

Each function takes the node and the places of what it reads, and returns that of its result; where
two samples meet, or may, because nothing is known of the operator, it raises Mixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.analysis.reshaping import axes_before, blocks
from lrp_onnx.analysis.sample_place import Mixed, Place, Places, place_of, without
from lrp_onnx.graph.attributes import einsum_labels
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.shapes import sizes_of
from lrp_onnx.graph.subgraphs import RECURRENT
from lrp_onnx.ops.registry import find
from lrp_onnx.ops.samples import by_shape, rank_of

__all__ = ["places_behind"]


LENGTHS, STATES = 4, (5, 6)
"""Their inputs."""


def places_behind(node: ir.Node, places: Places) -> list[Place]:
    """Where each of the node's results holds the samples."""
    if node.op_type in RECURRENT and not node.domain:
        behind = _recurrent(node, places)
    else:
        behind = [_how(node)(node, places)] * len(node.outputs)
    for value, place in zip(node.outputs, behind, strict=True):
        if (value.uses() or value.is_graph_output()) and not _fits(value, place, node, places):
            raise Mixed
    return behind


def _how(node: ir.Node) -> Callable[[ir.Node, Places], Place]:
    operator = find(node)
    if node.op_type in FOLLOW:
        return FOLLOW[node.op_type]
    if operator is not None and operator.elementwise:
        return _broadcast
    if operator is not None and operator.axes is not None:
        return _beside_axes
    return _reduced if node.op_type.startswith(("Reduce", "Arg")) else _rows


def _fits(value: ir.Value, place: Place, node: ir.Node, places: Places) -> bool:
    """Whether the axis is as long as where the samples come from: neither cut nor repeated."""
    own = _size(value, place)
    for x, p in ((v, places.get(v)) for v in node.inputs if v is not None):
        size = None if p is None else _size(x, p)
        if p is None or replace(p, axis=place.axis) != place or own == size:
            continue
        if own is not None and (size is not None or _may_repeat(node, place, places)):
            return False
    return True


def _may_repeat(node: ir.Node, place: Place, places: Places) -> bool:
    """Whether an open size of 1 would become another one."""
    behind = place.axis - rank_of(node.outputs[0])
    others = [sizes_of(v) or [] for v in node.inputs if v is not None and v not in places]
    broad = any(len(sizes) >= -behind and sizes[behind] != 1 for sizes in others)
    return node.op_type == "Expand" or (broad and node.op_type not in ("Reshape", "Concat"))


def _size(value: ir.Value, place: Place) -> int | None:
    """The size along the place's axis; None where it is open."""
    sizes = sizes_of(value)
    if sizes is None or place.axis >= len(sizes):
        raise Mixed
    size = sizes[place.axis]
    return size if isinstance(size, int) else None


def _holding(node: ir.Node, places: Places) -> list[tuple[ir.Value, Place]]:
    """The inputs that hold samples, and where."""
    values = [v for v in node.inputs if v is not None and v in places]
    return [(v, place_of(v, places)) for v in values]


def _only(node: ir.Node, places: Places) -> tuple[ir.Value, Place]:
    """The first input, if samples come in by it alone."""
    first = node.inputs[0]
    if first is None or any(v is not first for v, _ in _holding(node, places)):
        raise Mixed
    return first, place_of(first, places)


def _numbers(node: ir.Node, i: int, attribute: str) -> list[int] | None:
    """The axes that an input or an attribute holds; None where there are none."""
    value = node.inputs[i] if len(node.inputs) > i else None
    if value is None:
        own = node.attributes.get(attribute)
        return None if own is None else [int(k) for k in own.value]
    if (numbers := constant_ints(value)) is None:
        raise Mixed
    return numbers


def _broadcast(node: ir.Node, places: Places) -> Place:
    """Elementwise: all hold them along the same axis, counted from behind."""
    rank = rank_of(node.outputs[0])
    ranks = [(p, rank_of(v)) for v, p in _holding(node, places)]
    return _the_one({replace(p, axis=p.axis + rank - own) for p, own in ranks})


def _explained(node: ir.Node, places: Places) -> Place:
    """ExplainedBy: what explains a tensor equals it."""
    explanation = node.inputs[1]
    if explanation is None or explanation not in places:
        raise Mixed
    return place_of(explanation, places)


def _recurrent(node: ir.Node, places: Places) -> list[Place]:
    """X holds (T, N, …) or, of layout 1, (N, T, …); states (D, N, H) or (N, D, H)."""
    first = node.attributes.get_int("layout", 0)
    batch = Place(0 if first else 1)
    expected = {0: batch, LENGTHS: Place(0), **dict.fromkeys(STATES, batch)}
    for i, value in enumerate(node.inputs):
        if value is not None and value in places and place_of(value, places) != expected.get(i):
            raise Mixed
    return [Place(0 if first else 2), *[batch] * (len(node.outputs) - 1)]


def _transposed(node: ir.Node, places: Places) -> Place:
    """Transpose, Squeeze and Unsqueeze."""
    (_, place), before = _only(node, places), axes_before(node)
    if before is None:  # a Squeeze of whatever has size 1
        return _reshaped(node, places)
    if place.axis not in before:
        raise Mixed
    return replace(place, axis=before.index(place.axis))


def _reduced(node: ir.Node, places: Places) -> Place:
    x, place = _only(node, places)
    if node.op_type.startswith("Arg"):
        axes: list[int] | None = [node.attributes.get_int("axis", 0)]
    else:
        axes = _numbers(node, 1, "axes")
        if not axes and node.attributes.get_int("noop_with_empty_axes", False):
            return place
    left = without(x, place, axes or range(rank_of(x)))
    return place if node.attributes.get_int("keepdims", 1) else left


def _beside_axes(node: ir.Node, places: Places) -> Place:
    operator, (x, place) = find(node), _only(node, places)
    assert operator is not None
    assert operator.axes is not None
    without(x, place, operator.axes(node))
    return place


def _normalized(node: ir.Node, places: Places) -> Place:
    """LayerNormalization: over its axis and all behind it."""
    x, place = _only(node, places)
    if place.axis >= node.attributes.get_int("axis", -1) % rank_of(x):
        raise Mixed
    return place


def _along_one(default: int, named: str = "axis") -> Callable[[ir.Node, Places], Place]:
    """What mixes along the axis that an attribute names."""

    def beside(node: ir.Node, places: Places) -> Place:
        place = _broadcast(node, places)
        if place.axis == node.attributes.get_int(named, default) % rank_of(node.outputs[0]):
            raise Mixed
        return place

    return beside


def _sliced(node: ir.Node, places: Places) -> Place:
    """Slice and Pad along other axes."""
    x, place = _only(node, places)
    axes = _numbers(node, 3, "axes")
    if node.op_type == "Pad" and axes is None:
        pads = _numbers(node, 1, "pads") or []
        axes = [k for k in range(rank_of(x)) if pads[k] or pads[k + rank_of(x)]]
    without(x, place, range(rank_of(x)) if axes is None else axes)
    return place


def _gathered(node: ir.Node, places: Places) -> Place:
    x, indices = node.inputs[:2]
    axis = node.attributes.get_int("axis", 0) % max(1, rank_of(x))
    if x not in places and indices in places and indices is not None:
        place = place_of(indices, places)
        return replace(place, axis=place.axis + axis)
    first, place = _only(node, places)
    left = without(first, place, [axis])
    return replace(left, axis=left.axis + (rank_of(indices) if left.axis >= axis else 0))


def _multiplied(node: ir.Node, places: Places) -> Place:
    """Along an axis that both operands have, rows of the first or columns of the second."""
    a, b = node.inputs[:2]
    rank, behind = rank_of(node.outputs[0]), set[Place]()
    if len(_holding(node, places)) != sum(v in places for v in (a, b)) or 1 in map(rank_of, (a, b)):
        raise Mixed
    for operand, other, contracted in ((a, b, -1), (b, a, -2)):
        if operand is not None and operand in places:
            place = place_of(operand, places)
            axis = place.axis - rank_of(operand)
            if axis == contracted or (axis >= -2 and other in places):
                raise Mixed
            behind.add(replace(place, axis=rank + axis))
    return _the_one(behind)


def _the_one(places: Collection[Place]) -> Place:
    """The place that all agree on."""
    if len(places) != 1:
        raise Mixed
    return next(iter(places))


def _summed_products(node: ir.Node, places: Places) -> Place:
    """Einsum: all operands name their axis alike, and the result keeps it."""
    terms, result = einsum_labels(node)
    behind = set[Place]()
    for value, term in zip(node.inputs, terms, strict=False):
        if value is not None and value in places:
            place = place_of(value, places)
            letter = "" if "." in term else term[place.axis]
            if term.count(letter) != 1 or letter not in result:
                raise Mixed
            behind.add(replace(place, axis=result.index(letter)))
    return _the_one(behind)


def _repeated(node: ir.Node, places: Places) -> Place:
    """Tile: all samples again and again."""
    _, place = _only(node, places)
    repeats = _numbers(node, 1, "repeats")
    if repeats is None:
        raise Mixed
    return replace(place, outer=place.outer * repeats[place.axis])


def _reshaped(node: ir.Node, places: Places) -> Place:
    """The samples stay in their block of axes; what lay behind them in it still does."""
    (x, place), value = _only(node, places), node.outputs[0]
    before, behind = sizes_of(x), sizes_of(value)
    if before is None or behind is None:
        raise Mixed
    block = next(b for b in blocks(before, behind) if place.axis in b.before)
    inner = place.inner * _product(before[k] for k in block.before if k > place.axis)
    outer = place.outer * _product(before[k] for k in block.before if k < place.axis)
    size = before[place.axis]
    samples = size // (place.outer * place.inner) if isinstance(size, int) else 0
    for k in block.behind:
        try:
            o, o_left = divmod(outer, _product(behind[j] for j in block.behind if j < k))
            i, i_left = divmod(inner, _product(behind[j] for j in block.behind if j > k))
        except Mixed:
            continue  # an open size is the samples' own
        own = behind[k]
        if o_left or i_left:
            continue
        if not isinstance(own, int) or own == o * (samples or own // (o * i)) * i:
            return Place(k, o, i)
    raise Mixed


def _product(sizes: Iterable[object]) -> int:
    known = list(sizes)
    if not all(isinstance(n, int) and n > 0 for n in known):
        raise Mixed
    return math.prod(n for n in known if isinstance(n, int))


def _standardized(node: ir.Node, places: Places) -> Place:
    """lrp::Norm, over its axes."""
    place, rank = _broadcast(node, places), rank_of(node.outputs[0])
    if place.axis - rank in node.attributes.get_ints("axes", ()):
        raise Mixed
    return place


def _rows(node: ir.Node, places: Places) -> Place:
    """What its record says of samples along axis 0, if that axis is the first of the result too: by
    the operator's meaning, or since no other has its size.
    """
    operator, holding = find(node), _holding(node, places)
    inputs = [i for i, v in enumerate(node.inputs) if v in places]
    place, value = _the_one({p for _, p in holding}), node.outputs[0]
    if operator is None or any(rank_of(v) != rank_of(value) for v, _ in holding):
        raise Mixed
    first, *others = sizes_of(value) or [None]
    if any((sizes_of(v) or [None])[0] != first for v, _ in holding):
        raise Mixed
    by_place = operator.weighted or operator.samples_apart is by_shape
    if place.axis != 0 or first is None or (first in others and not by_place):
        raise Mixed
    if (by_place and 1 in inputs) or node.attributes.get_int("transA", False):
        raise Mixed
    if not operator.samples_apart(node, inputs):
        raise Mixed
    return place


FOLLOW: Mapping[str, Callable[[ir.Node, Places], Place]] = {
    "ExplainedBy": _explained,
    "DynamicQuantizeLinear": _rows,
    "Gather": _gathered,
    "Tile": _repeated,
    **dict.fromkeys(("Expand", "Where"), _broadcast),
    **dict.fromkeys(("Transpose", "Squeeze", "Unsqueeze"), _transposed),
    **dict.fromkeys(("Reshape", "Flatten"), _reshaped),
    **dict.fromkeys(("MatMul", "MatMulAdd"), _multiplied),
    **dict.fromkeys(("Slice", "Pad"), _sliced),
    **dict.fromkeys(("Concat", "Split", "GatherElements"), _along_one(0)),
    **dict.fromkeys(("TopK", "Hardmax", "LpNormalization", "RMSNormalization"), _along_one(-1)),
    "ReverseSequence": _along_one(0, "time_axis"),
    "LayerNormalization": _normalized,
    "Norm": _standardized,
    "Einsum": _summed_products,
}
