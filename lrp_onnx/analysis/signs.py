"""Facts proven before anything is emitted: which tensors are never negative, which never positive.

A fact is +1 (every element ≥ 0) or -1 (every element ≤ 0); no entry means that nothing is known,
and a constant of zeros counts as +1.  Between which numbers elements lie (see `ranges`) tells the
sign of such as 1 - Sigmoid(x) and Clip(x, -3, 3) + 3.  NaN is nobody's fact: a tensor that holds
NaN makes every result NaN whatever its sign.  Nor is the quotient of a division by zero.

A fact holds for what a runtime computes, rounding included.  So Erf and Gelu, whose approximations
may overshoot ±1 by a rounding, keep only the sign of what is ≥ 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from lrp_onnx.analysis.ranges import ANYTHING, BOUNDS, Range, hull, of_sign, sign_of
from lrp_onnx.graph.subgraphs import CONTROL, bodies_of, ports_of
from lrp_onnx.ops.activation import number

__all__ = ["bounds", "signs"]

Known = Mapping[ir.Value, Range]
Fact = Callable[[ir.Node, list[int]], int]
"""The sign of a node's first output, given those of its inputs (0: not known, or not there)."""

LARGEST_CONSTANT = 1 << 16
"""Elements up to which a constant is looked at."""

NEVER_NEGATIVE = (
    *("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Softmax", "Exp", "Abs", "Sqrt", "Cosh"),
    *("Acos", "Acosh", "ReduceL1", "ReduceL2", "ReduceSumSquare", "LpPool", "GlobalLpPool"),
)
KEPT = (
    *("Identity", "Dropout", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand"),
    *("Tile", "Slice", "Split", "Gather", "GatherElements", "GatherND", "DepthToSpace", "Trilu"),
    *("SpaceToDepth", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMax"),
    *("ReduceMin", "ReduceMean", "ReduceSum", "Floor", "Ceil", "Round", "Sign", "Reciprocal"),
    *("Celu", "HardSwish", "Mish", "Tanh", "Softsign", "Sinh", "Asinh", "Asin", "Atan", "Atanh"),
    *("ThresholdedRelu", "MaxUnpool", "Col2Im", "RoiAlign", "MaxRoiPool"),
)
"""The sign of the first input is the output's."""
KEPT_IF_POSITIVE = ("Erf", "Gelu", "ReduceProd")
SHARED = ("Concat", "Add", "Sum", "Mean")
"""A sign that all inputs share is the output's."""


def signs(graph: ir.Graph) -> dict[ir.Value, int]:
    """The proven sign of each tensor of the graph."""
    return {value: sign for value, lies in bounds(graph).items() if (sign := sign_of(lies))}


def bounds(graph: ir.Graph) -> dict[ir.Value, Range]:
    """Between which numbers each tensor of the graph is proven to lie."""
    known: dict[ir.Value, Range] = {}
    _learn(graph, known)
    return known


def _learn(graph: ir.Graph, known: dict[ir.Value, Range]) -> None:
    """Add what is known of a graph and of the bodies inside it."""
    known.update((value, _of_constant(value)) for value in graph.initializers.values())
    for node in graph:
        if node.op_type in CONTROL and not node.domain:
            _learn_bodies(node, known)
            continue
        found = _of_node(node, known)
        # of several outputs only those of Split are alike; others are masks or indices
        outputs = node.outputs if node.op_type == "Split" else node.outputs[:1]
        known.update((value, found) for value in outputs)


def _learn_bodies(node: ir.Node, known: dict[ir.Value, Range]) -> None:
    """A slice lies where the whole does, and all slices together; a result where those of all
    bodies do.  Of a carried value nothing is known.
    """
    ports, bodies = ports_of(node), bodies_of(node)
    for body in bodies:
        for s in ports.read:
            known[body.inputs[s.body]] = _of(node.inputs[s.node], known)
        _learn(body, known)
    results = [*((s.node, s.body) for s in ports.written), *ports.results]
    for n, b in results:
        known[node.outputs[n]] = hull([_of(body.outputs[b], known) for body in bodies])


def _of(value: ir.Value | None, known: Known) -> Range:
    return ANYTHING if value is None else known.get(value, ANYTHING)


def _of_constant(value: ir.Value) -> Range:
    tensor = value.const_value
    if tensor is None or not 0 < tensor.size <= LARGEST_CONSTANT:
        return ANYTHING
    array = tensor.numpy()
    if not tensor.dtype.is_floating_point() or np.isnan(array).any():
        return ANYTHING
    return float(array.min()), float(array.max())


def _of_node(node: ir.Node, known: Known) -> Range:
    """What its operator proves of the sign, and of the range."""
    if node.domain:
        return ANYTHING
    fact, bound = FACTS.get(node.op_type), BOUNDS.get(node.op_type)
    of = [_of(value, known) for value in node.inputs]
    by_sign = ANYTHING if fact is None else of_sign(fact(node, [sign_of(r) for r in of]))
    by_range = ANYTHING if bound is None else bound(node, of)
    return max(by_sign[0], by_range[0]), min(by_sign[1], by_range[1])


def _shared(node: ir.Node, of: list[int]) -> int:
    return of[0] if len(set(of)) == 1 else 0


def _of_product(node: ir.Node, of: list[int]) -> int:
    return 1 if node.inputs[0] is node.inputs[1] else of[0] * of[1]


def _of_power(node: ir.Node, of: list[int]) -> int:
    """That of a base ≥ 0; of an even constant exponent +1; an odd one keeps the base's sign."""
    exponent = node.inputs[1]
    constant = None if exponent is None else exponent.const_value
    if of[0] > 0 or constant is None or constant.size > LARGEST_CONSTANT:
        return max(of[0], 0)
    with np.errstate(invalid="ignore"):  # an infinite exponent is neither even nor odd
        parity = constant.numpy() % 2
    return 1 if (parity == 0).all() else of[0] if (parity == 1).all() else 0


def _of_maximum(node: ir.Node, of: list[int]) -> int:
    return 1 if 1 in of else -1 if set(of) == {-1} else 0


def _of_minimum(node: ir.Node, of: list[int]) -> int:
    return -_of_maximum(node, [-sign for sign in of])


def _of_clip(node: ir.Node, of: list[int]) -> int:
    """That of min(max(x, low), high), where a bound that is missing takes no part."""
    low, high = [*zip(node.inputs[1:], of[1:], strict=True), (None, 0), (None, 0)][:2]
    raised = of[0] if low[0] is None else _of_maximum(node, [of[0], low[1]])
    return raised if high[0] is None else _of_minimum(node, [raised, high[1]])


def _of_pad(node: ir.Node, of: list[int]) -> int:
    """That of the data, if padding is with zeros, with data or with a constant of that sign."""
    mode = node.attributes.get("mode")
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    if fill is None or (mode is not None and mode.as_string() != "constant"):
        return of[0]
    return of[0] if of[0] == of[2] else 0


def _of_cast(node: ir.Node, of: list[int]) -> int:
    """That of floats; +1 of truth values and unsigned integers."""
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.dtype is None or y.dtype is None or not y.dtype.is_floating_point():
        return 0
    unsigned = x.dtype == ir.DataType.BOOL or (x.dtype.is_integer() and not x.dtype.is_signed())
    return 1 if unsigned else of[0]


def _of_slopes(sign: int, slope: int) -> int:
    """Of a function through 0 that rises where x > 0; `slope` is the sign of its slopes below 0."""
    return 1 if sign > 0 or slope < 0 else -slope if sign < 0 else 0


def _of_leaky_relu(node: ir.Node, of: list[int]) -> int:
    return _of_slopes(of[0], 1 if number(node, "alpha", 0.01) >= 0 else -1)


def _of_elu(node: ir.Node, of: list[int]) -> int:
    return _of_slopes(of[0], 1 if number(node, "alpha", 1.0) >= 0 else -1)


def _of_selu(node: ir.Node, of: list[int]) -> int:
    positive = number(node, "alpha", 1.0) >= 0 and number(node, "gamma", 1.0) >= 0
    return of[0] if positive else 0


def _of_shrink(node: ir.Node, of: list[int]) -> int:
    """That of x, unless the bias may carry x past 0."""
    bias, threshold = number(node, "bias", 0.0), number(node, "lambd", 0.5)
    return of[0] if bias <= threshold and threshold >= 0 else 0


def _of_lrn(node: ir.Node, of: list[int]) -> int:
    positive = number(node, "alpha", 1e-4) >= 0 and number(node, "bias", 1.0) >= 0
    return of[0] if positive else 0


def _of_resize(node: ir.Node, of: list[int]) -> int:
    """That of x where every result is a mean of elements of x: not cubic, nothing extrapolated."""
    mode, coordinates = (node.attributes.get(k) for k in ("mode", "coordinate_transformation_mode"))
    inside = coordinates is None or coordinates.as_string() != "tf_crop_and_resize"
    means = mode is None or mode.as_string() in ("nearest", "linear")
    return of[0] if inside and means else 0


def _of_grid_sample(node: ir.Node, of: list[int]) -> int:
    """That of x where every weight is at least 0: not cubic."""
    mode = node.attributes.get("mode")
    return 0 if mode is not None and "cubic" in mode.as_string() else of[0]


FACTS: dict[str, Fact] = {
    **dict.fromkeys(NEVER_NEGATIVE, lambda node, of: 1),
    **dict.fromkeys(KEPT, lambda node, of: of[0]),
    **dict.fromkeys(KEPT_IF_POSITIVE, lambda node, of: max(of[0], 0)),
    **dict.fromkeys(SHARED, _shared),
    "Sub": lambda node, of: of[0] if of[0] == -of[1] else 0,
    "Neg": lambda node, of: -of[0],
    "Mul": _of_product,
    "Div": lambda node, of: of[0] * of[1],
    "Pow": _of_power,
    "Max": _of_maximum,
    "Min": _of_minimum,
    "Where": lambda node, of: of[1] if of[1] == of[2] else 0,
    "PRelu": lambda node, of: _of_slopes(of[0], of[1]),
    "LeakyRelu": _of_leaky_relu,
    "Elu": _of_elu,
    "Selu": _of_selu,
    "Shrink": _of_shrink,
    "Clip": _of_clip,
    "Pad": _of_pad,
    "Cast": _of_cast,
    "LRN": _of_lrn,
    "Resize": _of_resize,
    "GridSample": _of_grid_sample,
}
