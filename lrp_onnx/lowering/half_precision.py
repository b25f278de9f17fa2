"""The explanation's products with weights in float16: half the bytes of their weights, and the
matrix units of GPUs and browsers.

float16 knows magnitudes from 6e-8 to 65504, with three digits from 6e-5 on, and relevance has
others: a share of a pixel may be 1e-9 of what is explained, and what is divided by a small sum 1e6
times another.  A linear map knows no unit, so each sample is divided by its largest magnitude m and
multiplied back, so that it ends at TOP, and the weight is multiplied by a power of two g that no
sum of its products can leave the range with:

    w·x = m / (g TOP) · half((g·w) · half(TOP · x / m)).

What is added, divided and compared stays float32, as does the prediction, and bodies of loops
whole: their products are small.  The relevance of ResNet-50, EfficientNet-lite, YOLOv8, MiniLM and
an LSTM changes by 4e-4 to 1.3e-3 of its largest value; with TOP = 1 that of three small layers
under alpha2-beta1 by 0.25.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.graph.annotations import RULE
from lrp_onnx.graph.constants import new_constant, stored
from lrp_onnx.graph.replacement import Build

__all__ = ["halve_products", "round_halves"]

ROOM = 2.0**15
"""What a sum of products may reach; float16 ends at 65504, and its sums are rounded."""
TOP = 2.0**8
"""What the largest magnitude of a sample becomes: half of the range is above it, for the weight."""
TINY = 1e-30
"""Instead of the largest magnitude of a sample that is 0."""
Weight = NDArray[np.float32]


@dataclass(frozen=True)
class Product:
    """A linear map of one operand by a weight, without its bias."""

    weight: int
    """The input that the weight is."""
    operand: int
    axes: tuple[int, ...]
    """Of the operand: all along which its elements are summed into one result."""
    largest: float
    """The most that the magnitudes of the weight sum to in one result."""


Halves = dict[tuple[ir.Value, float], ir.Value]
"""The weights in float16 by what they were and what they are multiplied by."""


def halve_products(model: ir.Model) -> int:
    """Compute each emitted product with a stored float32 weight in float16, in place; returns how
    many there were.
    """
    halves: Halves = {}
    products = {node: product for node in model.graph if (product := _product(node)) is not None}
    for node, product in products.items():
        _halve(model.graph, node, product, halves)
    for weight in {weight for weight, _ in halves}:
        if not weight.uses() and not weight.is_graph_output():
            del model.graph.initializers[str(weight.name)]
    return len(products)


def _product(node: ir.Node) -> Product | None:
    """What an emitted node multiplies; None where it stays as it is."""
    if RULE not in node.metadata_props or node.domain or node.op_type not in PRODUCTS:
        return None
    return PRODUCTS[node.op_type](node)


def _weight(value: ir.Value | None) -> Weight | None:
    """A stored float32 matrix or kernel."""
    array = stored(value)
    return array if array is not None and array.dtype == np.float32 and array.ndim > 1 else None


def _convolution(node: ir.Node, summed: tuple[int, ...]) -> Product | None:
    w = _weight(node.inputs[1])
    if w is None:
        return None
    summed = tuple(axis for axis in range(w.ndim) if axis in summed or axis > 1)
    return Product(1, 0, tuple(range(1, w.ndim)), _largest_sum(w, summed))


def _matmul(node: ir.Node) -> Product | None:
    a, b = node.inputs
    if (w := _weight(b)) is not None:
        return Product(1, 0, (-1,), _largest_sum(w, (-2,)))
    if (w := _weight(a)) is not None and b is not None and b.shape is not None and len(b.shape) > 1:
        return Product(0, 1, (-2,), _largest_sum(w, (-1,)))
    return None


def _gemm(node: ir.Node) -> Product | None:
    w = _weight(node.inputs[1])
    turned = node.attributes.get_int("transA", 0) or node.attributes.get_float("beta", 1.0) != 1
    if w is None or turned:
        return None
    summed = 1 if node.attributes.get_int("transB", 0) else 0
    alpha = abs(node.attributes.get_float("alpha", 1.0))
    return Product(1, 0, (1,), alpha * _largest_sum(w, (summed,)))


PRODUCTS: dict[str, Callable[[ir.Node], Product | None]] = {
    "Conv": lambda node: _convolution(node, (1,)),
    "ConvTranspose": lambda node: _convolution(node, (0,)),
    "MatMul": _matmul,
    "Gemm": _gemm,
}


def _largest_sum(w: Weight, axes: tuple[int, ...]) -> float:
    return float(np.abs(w).sum(axes, dtype=np.float64).max(initial=0.0))


def _halve(graph: ir.Graph, node: ir.Node, product: Product, halves: Halves) -> None:
    weight, x = node.inputs[product.weight], node.inputs[product.operand]
    assert weight is not None
    assert weight.const_value is not None
    assert x is not None
    reached = max(product.largest, float(np.finfo(np.float32).tiny))
    scale = 2.0 ** math.floor(math.log2(ROOM / TOP / reached))
    if (weight, scale) not in halves:
        scaled = np.float32(scale) * weight.const_value.numpy()
        name = f"{weight.name}/half"
        halves[weight, scale] = new_constant(graph, name, scaled, ir.DataType.FLOAT16)
    build = Build(graph, node, "half")
    largest = build.op("ReduceMax", build.op("Abs", x), build.ints(*product.axes), keepdims=1)
    largest = build.op("Max", build.op("Mul", largest, build.like(1 / TOP, x)), build.like(TINY, x))
    part = build.op("Div", x, largest)
    operands = list(node.inputs)
    bias = operands.pop(2) if len(operands) > 2 else None
    operands[product.operand] = build.op("Cast", part, to=ir.DataType.FLOAT16)
    operands[product.weight] = halves[weight, scale]
    (half,) = build.copy(node, operands)
    unit = build.op("Mul", largest, build.like(1 / scale, x))
    result = build.op("Mul", build.op("Cast", half, to=ir.DataType.FLOAT), unit)
    if bias is not None:
        if node.op_type != "Gemm":  # one number for each channel
            bias = build.op("Reshape", bias, build.ints(1, -1, *(1 for _ in product.axes[1:])))
        result = build.op("Add", result, bias)
    build.replace(result)


def round_halves(model: ir.Model) -> None:
    """Let float32 kernels compute what float16 ones would, in place.

    A runtime without those, such as ONNX Runtime on a CPU, computes such a node in float32 and
    leaves out the roundings around it; these are nodes of their own here, and stay.
    """
    for node in list(model.graph):
        if RULE not in node.metadata_props or node.op_type not in PRODUCTS:
            continue
        if any(v is not None and v.dtype == ir.DataType.FLOAT16 for v in node.inputs):
            build = Build(model.graph, node, "rounded")
            whole = [build.op("Cast", v, to=ir.DataType.FLOAT) for v in node.inputs]
            (result,) = build.copy(node, whole)
            build.replace(build.op("Cast", result, to=ir.DataType.FLOAT16))
