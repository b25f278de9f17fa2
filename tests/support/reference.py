"""The forward pass in float64, node by node: onnx.reference, with stand-ins where it fails."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import onnx
from models import TOLERANCE, assert_close
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = np.ndarray

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


class Network:
    """A model read once: float64 constants, nodes in order, and its opset.

    A node whose inputs are the arrays that it had last is not computed again: differences along
    one input leave all that does not depend on it as it is.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.nodes = list(model.graph.node)
        self.reads = [(tuple(n.input), tuple(n.output)) for n in self.nodes]
        self.evaluations = [evaluation(n, self.opset) for n in self.nodes]
        self.constants = {t.name: _wide(numpy_helper.to_array(t)) for t in model.graph.initializer}
        self.outputs = [o.name for o in model.graph.output]
        self.layers: dict[object, object] = {}
        """What `oracle_walk` works out of its nodes."""
        self.fed: dict[str, tuple[Array, Array]] = {}
        self.last: list[tuple[list[Array | None], list[Array]] | None] = [None] * len(self.nodes)

    def forward(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor by name, in float64."""
        for name, array in feeds.items():
            if name not in self.fed or self.fed[name][0] is not array:
                self.fed[name] = array, _wide(array)
        values = {**self.constants, **{name: self.fed[name][1] for name in feeds}}
        for k, (reads, writes) in enumerate(self.reads):
            inputs = [values[name] if name else None for name in reads]
            last = self.last[k]
            if last is None or not all(map(operator.is_, inputs, last[0])):
                last = inputs, [_wide(a) for a in self.evaluations[k](values)]
                self.last[k] = last
            values.update(zip(writes, last[1], strict=False))
        return values


def _wide(a: Array) -> Array:
    a = np.asarray(a)
    return a.astype(np.float64) if a.dtype.kind == "f" else a


def finite_difference(
    f: Callable[[Array], Array], x: Array, seed: Array, step: float = 1e-5
) -> Array:
    """Gradient of Σ seed·f(x) by central differences, one element of x at a time."""
    out = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        shift = np.zeros(x.shape)
        shift[index] = step
        out[index] = np.sum(seed * (f(x + shift) - f(x - shift))) / (2 * step)
    return out


FEW = 16
"""Elements from which on not every one is moved alone."""


def assert_gradient(
    gradient: Array,
    f: Callable[[Array], Array],
    x: Array,
    seed: Array,
    tolerance: float = TOLERANCE["float32"],
    what: str = "",
) -> None:
    """The gradient of Σ seed·f(x) by central differences: of a few elements one by one, of many
    along FEW of the axes and three directions in which all elements move.
    """
    if x.size <= FEW:
        assert_close(gradient, finite_difference(f, x, seed), tolerance, what)
        return
    assert gradient.shape == x.shape
    rng, step = np.random.default_rng(0), 1e-5
    single = np.eye(x.size)[rng.choice(x.size, FEW, replace=False)]
    directions = np.concatenate([single, rng.standard_normal((3, x.size))])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shifts = [step * d.reshape(x.shape) for d in directions]
    slopes = np.array([np.sum(seed * (f(x + d) - f(x - d))) / (2 * step) for d in shifts])
    error = np.abs(directions @ gradient.ravel() - slopes).max()
    assert np.isfinite(slopes).all()
    assert error <= tolerance * np.abs(gradient).max(), f"{what} off by {error:.2e}"


@lru_cache(maxsize=4096)
def _evaluator(node: bytes, opset: int) -> ReferenceEvaluator:
    proto = onnx.NodeProto.FromString(node)
    any_type = onnx.TypeProto()
    inputs = [helper.make_value_info(n, any_type) for n in dict.fromkeys(proto.input) if n]
    outputs = [helper.make_value_info(n, any_type) for n in proto.output if n]
    graph = helper.make_graph([proto], "one", inputs, outputs)
    opsets = [helper.make_opsetid(proto.domain, opset)]
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def evaluate(node: onnx.NodeProto, values: Mapping[str, Array], opset: int) -> list[Array]:
    """Outputs of one node, in the precision of `values`."""
    return evaluation(node, opset)(values)


def evaluation(node: onnx.NodeProto, opset: int) -> Callable[[Mapping[str, Array]], list[Array]]:
    """What computes the outputs of one node, in the precision of the tensors that it is given."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    names = list(node.input)

    def given(values: Mapping[str, Array]) -> list[Array | None]:
        return [values[n] if n else None for n in names]

    if node.op_type == "Cast" and attributes["to"] in FLOATS:
        return lambda values: [values[names[0]].astype(np.float64)]  # float32 spoils differences
    if node.op_type in STAND_INS:
        return lambda values: [STAND_INS[node.op_type](*given(values), **attributes)]
    evaluator = _evaluator(node.SerializeToString(), opset)
    (alone,) = evaluator.rt_nodes_
    if alone.need_context():
        return lambda values: evaluator.run(None, {n: values[n] for n in names if n})
    if node.op_type == "Pad" and len(names) > 1:
        return lambda values: (
            [_crop(node, values, opset)]
            if (values[names[1]] < 0).any()
            else list(alone.run(*given(values)))
        )
    return lambda values: list(alone.run(*given(values)))


def _crop(node: onnx.NodeProto, values: Mapping[str, Array], opset: int) -> Array:
    """Pad with negative amounts, which the reference evaluator refuses: pad, then cut."""
    x, pads = values[node.input[0]], values[node.input[1]]
    axes = values[node.input[3]] if len(node.input) > 3 else np.arange(x.ndim)
    y = evaluate(node, {**values, node.input[1]: np.maximum(pads, 0)}, opset)[0]
    for axis, before, behind in zip(axes, *np.split(np.minimum(pads, 0), 2), strict=True):
        y = np.take(y, np.arange(-before, y.shape[axis] + behind), axis)
    return y


def windows(x: Array, fill: float, **attributes: object) -> Array:
    """Every element a pooling window reads, `fill` on padding: (N, C, *out, *kernel).

    A last window that ceil_mode adds must start inside the input or the padding before it.
    """
    kernel = np.array(attributes["kernel_shape"])
    n, size = len(kernel), np.array(x.shape[2:])
    s, d = (np.array(attributes.get(k, [1] * n)) for k in ("strides", "dilations"))
    before, behind = _pads(attributes, size, s, d * (kernel - 1) + 1)
    steps = (size + before + behind - d * (kernel - 1) - 1) / s
    out = (np.ceil(steps) if attributes.get("ceil_mode") else np.floor(steps)).astype(int) + 1
    out -= (out - 1) * s >= size + before
    more = np.maximum((out - 1) * s + d * (kernel - 1) + 1 - size - before, 0)
    whole = np.pad(x, [(0, 0), (0, 0), *zip(before, more, strict=True)], constant_values=fill)
    for axis in range(n):
        index = np.arange(out[axis])[:, None] * s[axis] + np.arange(kernel[axis]) * d[axis]
        whole = np.take(whole, index, axis + 2)  # the taps move to the end, axis by axis
        whole = np.moveaxis(whole, axis + 3, -1)
    return whole


def _pads(
    attributes: Mapping[str, object], size: Array, stride: Array, reach: Array
) -> tuple[Array, Array]:
    """Padding before and behind, with auto_pad worked out."""
    mode = attributes.get("auto_pad", b"NOTSET")
    if mode.startswith(b"SAME"):
        total = np.maximum((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        return (small, large) if mode == b"SAME_UPPER" else (large, small)
    pads = attributes.get("pads") if mode == b"NOTSET" else None
    return tuple(np.split(np.array(pads or [0] * 2 * len(size)), 2))


def _maximum_pool(x: Array, **attributes: object) -> Array:
    """MaxPool-12; the reference evaluator gets sizes wrong under SAME and ceil_mode."""
    taps = windows(x, -np.inf, **attributes)
    return taps.max(axis=tuple(range(x.ndim, taps.ndim)))


def _average_pool(x: Array, count_include_pad: int = 0, **attributes: object) -> Array:
    """AveragePool-19; what ceil_mode adds behind the padding never counts."""
    taps, axes = windows(x, 0.0, **attributes), tuple(range(x.ndim, 2 * x.ndim - 2))
    counted = np.ones_like(x[:1, :1])
    if count_include_pad:
        n = x.ndim - 2
        kernel, s, d = (np.array(attributes.get(k, [1] * n))
                        for k in ("kernel_shape", "strides", "dilations"))  # fmt: skip
        pads = _pads(attributes, np.array(x.shape[2:]), s, d * (kernel - 1) + 1)
        counted = np.pad(counted, [(0, 0), (0, 0), *zip(*pads, strict=True)], constant_values=1)
        attributes = {**attributes, "pads": None, "auto_pad": b"NOTSET"}
    count = windows(counted, 0.0, **attributes).sum(axis=axes)
    return (
        taps.sum(axis=axes) / count[tuple(slice(k) for k in (None, None, *taps.shape[2 : x.ndim]))]
    )


def _convolution(x: Array, w: Array, b: object = 0.0, **attributes: object) -> Array:
    """Conv-11, tap by tap: the reference evaluator's loops take ten times as long."""
    n = w.ndim - 2
    s, d = (np.array(attributes.get(k, [1] * n)) for k in ("strides", "dilations"))
    group, size, reach = attributes.get("group", 1), np.array(x.shape[2:]), np.array(w.shape[2:])
    reach = d * (reach - 1) + 1
    before, behind = _pads(attributes, size, s, reach)
    out = (size + before + behind - reach) // s + 1
    x = np.pad(x, [(0, 0), (0, 0), *zip(before, behind, strict=True)])
    x = x.reshape(len(x), group, -1, *x.shape[2:])
    w = w.reshape(group, len(w) // group, *w.shape[1:])
    y = np.zeros((len(x), group, w.shape[1], int(np.prod(out))), np.result_type(x, w))
    for tap in np.ndindex(*w.shape[3:]):
        spans = zip(tap * d, s * (out - 1) + 1, s, strict=True)
        read = x[(..., *(slice(first, first + span, step) for first, span, step in spans))]
        y += w[(..., *tap)] @ read.reshape(*read.shape[:3], -1)
    return y.reshape(len(x), -1, *out) + np.reshape(b, (-1, *[1] * n))


def _transposed_convolution(x: Array, w: Array, b: object = 0.0, **attributes: object) -> Array:
    """ConvTranspose-11, tap by tap: the reference evaluator fails on groups and output_shape."""
    n = w.ndim - 2
    s, d = (np.array(attributes.get(k, [1] * n)) for k in ("strides", "dilations"))
    group, extra = attributes.get("group", 1), np.array(attributes.get("output_padding", [0] * n))
    size, kernel = np.array(x.shape[2:]), np.array(w.shape[2:])
    full = np.zeros((len(x), w.shape[1] * group, *(s * (size - 1) + d * (kernel - 1) + 1 + extra)))
    parts = [np.split(a, group, axis) for a, axis in ((x, 1), (w, 0), (full, 1))]
    for tap in np.ndindex(*kernel):
        spans = zip(tap * d, s * (size - 1) + 1, s, strict=True)
        place = tuple(slice(first, first + span, step) for first, span, step in spans)
        for xg, wg, yg in zip(*parts, strict=True):  # yg is a view of full
            yg[(..., *place)] += np.einsum("nc...,cm->nm...", xg, wg[(..., *tap)])
    for axis, (i, j) in enumerate(_cut(attributes, np.array(full.shape[2:]), s * size), start=2):
        full = np.take(full, np.arange(i, full.shape[axis] - j), axis)
    return full + np.reshape(b, (-1, *[1] * n))


def _cut(attributes: Mapping[str, object], full: Array, same: Array) -> list[tuple[int, int]]:
    """What is cut off before and behind, per axis, by the specification's total_padding."""
    mode = attributes.get("auto_pad", b"NOTSET")
    wanted = attributes.get("output_shape", same if mode.startswith(b"SAME") else None)
    if wanted is None:
        pads = attributes.get("pads") if mode == b"NOTSET" else None
        before, behind = np.split(np.array(pads or [0] * 2 * len(full)), 2)
        return list(zip(before, behind, strict=True))
    total = full - np.array(wanted)[-len(full) :]
    small, large = total // 2, total - total // 2
    return list(zip(*((small, large) if mode == b"SAME_UPPER" else (large, small)), strict=True))


def _local_response(
    x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Array:
    """LRN-13; the reference evaluator takes the batch size for the number of channels."""
    before, behind = (size - 1) // 2, -(-(size - 1) // 2)
    squares = np.stack([np.sum(x[:, max(c - before, 0) : c + behind + 1] ** 2, 1)
                        for c in range(x.shape[1])], 1)  # fmt: skip
    return x / (bias + alpha / size * squares) ** beta


def _global_maximum(x: Array) -> Array:
    """GlobalMaxPool-1; the reference evaluator adds an axis to 3-D inputs."""
    return x.max(axis=tuple(range(2, x.ndim)), keepdims=True)


def _upsample(x: Array, scales: Array, mode: bytes = b"nearest") -> Array:
    """Upsample-9 as Resize with asymmetric coordinates; the evaluator lacks its linear mode."""
    rounding = {"nearest_mode": "floor"} if mode == b"nearest" else {}
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode=mode.decode(),
        coordinate_transformation_mode="asymmetric", **rounding,
    )  # fmt: skip
    return evaluate(node, {"x": x, "scales": scales}, 18)[0]


def _erf(x: Array) -> Array:
    """Erf-13 in float64, where the reference evaluator rounds to float32."""
    return np.vectorize(math.erf, otypes=[float])(x)


def _gelu(x: Array, approximate: bytes = b"none") -> Array:
    """Gelu-20 in float64, for the same reason."""
    if approximate == b"tanh":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + _erf(x / np.sqrt(2)))


def _group_normalization(
    x: Array, scale: Array, b: Array, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Array:
    """GroupNormalization-21; the reference evaluator cannot write out its function.

    `stash_type` asks for a precision; all is in float64 here.
    """
    grouped = x.reshape(len(x), num_groups, -1)
    centered = grouped - grouped.mean(2, keepdims=True)
    y = centered / np.sqrt((centered**2).mean(2, keepdims=True) + epsilon)
    channels = (-1, *[1] * (x.ndim - 2))
    return y.reshape(x.shape) * scale.reshape(channels) + b.reshape(channels)


def _gather_elements(x: Array, index: Array, axis: int = 0) -> Array:
    """GatherElements-13; the reference evaluator fails on a negative axis."""
    places = np.indices(index.shape)
    places[axis] = index
    return x[tuple(places)]


def _scatter_elements(
    x: Array, index: Array, updates: Array, axis: int = 0, reduction: bytes = b"none"
) -> Array:
    """ScatterElements-18, one update after the other; the evaluator fails where the data is
    larger.
    """
    combine = {b"none": lambda a, b: b, b"add": np.add, b"mul": np.multiply, b"max": np.maximum,
               b"min": np.minimum}[reduction]  # fmt: skip
    y = x.copy()
    for place in np.ndindex(index.shape):
        k = axis % x.ndim
        to = (*place[:k], index[place], *place[k + 1 :])
        y[to] = combine(y[to], updates[place])
    return y


def _unique(x: Array, axis: int | None = None, sorted: int = 1) -> Array:
    """Unique-11; the evaluator always sorts."""
    y, first = np.unique(x, return_index=True, axis=axis)
    return y if sorted else np.take(x if axis is not None else x.ravel(), np.sort(first), axis)


STAND_INS: dict[str, Callable[..., Array]] = {
    "Conv": _convolution, "ConvTranspose": _transposed_convolution, "LRN": _local_response,
    "GlobalMaxPool": _global_maximum, "Upsample": _upsample,
    "MaxPool": _maximum_pool, "AveragePool": _average_pool, "Erf": _erf, "Gelu": _gelu,
    "GroupNormalization": _group_normalization,
    "GatherElements": _gather_elements, "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements, "Unique": _unique,
}  # fmt: skip
