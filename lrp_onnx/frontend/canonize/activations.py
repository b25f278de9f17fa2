"""What behaves as an activation, at each place alone, becomes its operator.

    -min(-x, 0) = max(x, 0),    1 - σ(-x) = ½·tanh(x/2) + ½ = softmax([x, 0])₀ = σ(x),

and a clipped line between 0 and 1 is clip(α·x + β, 0, 1), a HardSigmoid, if β is not 0.  The
numbers belong to the function: the first one is no weight of the layer in front of it, nor a bias,
which would take a share of relevance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.dependence import agree
from lrp_onnx.frontend.canonize.probe import Evaluators, Probe
from lrp_onnx.frontend.canonize.regions import Dominators, Region
from lrp_onnx.graph.constants import Float
from lrp_onnx.graph.replacement import Build

__all__ = ["activations"]

Attributes = dict[str, float]
Activation = tuple[str, Attributes]

NUMBERS = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Clip", "Pow")
TWO_CLASSES = ("Softmax", "Concat", "Pad", "Unsqueeze", "Squeeze", "Gather", "Slice", "Reshape")
UNARY = (
    *("Neg", "Exp", "Log", "Reciprocal", "Relu", "Tanh", "Sigmoid", "Softplus", "Abs"),
    "LeakyRelu",
)
WITHIN = frozenset((*NUMBERS, *UNARY, *TWO_CLASSES))
ENDS = frozenset((*NUMBERS, "Neg", "Exp", "Reciprocal", "Softplus", "Relu", *TWO_CLASSES[4:]))
BEGINS = frozenset((*NUMBERS, "Neg", *TWO_CLASSES[1:4], "Reshape"))
"""Operators that may be in such a region, end it or begin it."""
LONGEST = 7
"""As many dominators of the end are tried as entries."""
HALF = 0.5
SCALES = (0.1, 1, 10, 1e3, 1e6)
"""Of the points: a bound of 20 or of 65504 is seen by large ones alone, a bend at 0 by small."""
MODERATE = 3
"""At so many of them it must be finite."""


def activations(model: ir.Model) -> bool:
    """Write such regions as one operator, the last ends first and the largest region of each."""
    graph = model.graph
    ends = [n for n in graph if not n.domain and n.op_type in ENDS and len(n.outputs) == 1]
    if not ends:
        return False
    dominators, evaluators = Dominators(graph), Evaluators(model)
    written = [
        _written(graph, node, dominators, evaluators)
        for node in reversed(ends)
        if node.graph is graph
    ]
    return any(written)


def _written(graph: ir.Graph, end: ir.Node, dominators: Dominators, known: Evaluators) -> bool:
    chosen: tuple[Region, Activation] | None = None
    for region in _regions(end, dominators):
        activation = known.once("activation", region, _activation)
        chosen = chosen if activation is None else (region, activation)
    if chosen is None:
        return False
    region, (op_type, attributes) = chosen
    build = Build(graph, end, "activation")
    numbers = [build.like(v, region.entry) for v in attributes.values()] * (op_type == "Clip")
    own: dict[str, Any] = {} if numbers else {**attributes}
    y = build.op(op_type, region.entry, *numbers, like=region.entry, named=end.name, **own)
    build.replace_all(region.own, y)
    return True


def _regions(end: ir.Node, dominators: Dominators) -> Iterator[Region]:
    """Those of one number a place that end there and begin with a number."""
    if not _of_numbers(end, dominators):
        return
    for k, region in enumerate(dominators.regions(end.outputs[0], ())):
        if any(not _of_numbers(node, dominators) for node in region.own):
            return
        first = next((n for n in region.own if region.entry in n.inputs), None)
        alike = region.entry.shape is not None and region.entry.shape == region.exit.shape
        if first is not None and first.op_type in BEGINS and len(region.own) > 1 and alike:
            yield region
        before = region.entry.producer()
        if k == LONGEST or before is None or before.op_type not in WITHIN:
            return


def _of_numbers(node: ir.Node, dominators: Dominators) -> bool:
    """Whether it computes with single numbers besides what varies."""
    if node.op_type in ("Shape", "Expand", *TWO_CLASSES):
        return not node.domain
    constants = [v for v in node.inputs if v is not None and v in dominators.constants]
    single = all(v.shape is not None and all(n == 1 for n in v.shape) for v in constants)
    return single and not node.domain and node.op_type in WITHIN


def _activation(probe: Probe, like: object) -> Activation | None:
    """The activation that a region is at points of every scale, each scale for itself."""
    shape = next(probe.shapes(), None)
    if shape is None:
        return None
    rng = np.random.default_rng(0)
    points = [rng.standard_normal(shape) * scale for scale in SCALES]
    read = [(x, y) for x in points if (y := probe.any(x)) is not None]
    # where the region overflows it says nothing
    told = [(x[fine], y[fine]) for x, y in read if (fine := np.isfinite(y)).any()]
    if len(told) < len(SCALES) or not all(np.isfinite(y).all() for _, y in read[:MODERATE]):
        return None
    all_x, all_y = (np.concatenate(parts) for parts in zip(*told, strict=True))
    with np.errstate(all="ignore"):
        for op_type, (fit, formula) in KNOWN.items():
            attributes = fit(all_x, all_y)
            numbers = attributes.values() if attributes is not None else ()
            if attributes is not None and all(agree(y, formula(x, *numbers)) for x, y in told):
                return op_type, attributes
    return None


def _none(x: Float, y: Float) -> Attributes | None:
    return {}


def _slope_below(x: Float, y: Float) -> Attributes | None:
    """That of a LeakyRelu, from the least x; one of 1 is none."""
    alpha = float(np.float32(y[x.argmin()] / x.min()))
    return {"alpha": alpha} if 0 < alpha < 1 else None


def _bounds(x: Float, y: Float) -> Attributes | None:
    """From 0 to what the largest x gives."""
    return {"min": 0.0, "max": float(np.float32(y[x.argmax()]))} if y.min() == 0 else None


def _line(x: Float, y: Float) -> Attributes | None:
    """Slope and offset between 0 and 1, where these are the bounds."""
    inner = np.flatnonzero((y > 0) & (y < 1))
    if y.min() < -1e-6 or y.max() > 1 + 1e-6 or len(inner) < 2:
        return None
    first, last = inner[x[inner].argmin()], inner[x[inner].argmax()]
    alpha = float((y[last] - y[first]) / (x[last] - x[first]))
    beta = float(y[first] - alpha * x[first])
    return {"alpha": alpha, "beta": beta} if alpha > 0 and abs(beta) > 1e-6 else None


Fit = Callable[[Float, Float], Attributes | None]
KNOWN: dict[str, tuple[Fit, Callable[..., Float]]] = {
    "Relu": (_none, lambda x: np.maximum(x, 0)),
    "Exp": (_none, np.exp),
    "Sigmoid": (_none, lambda x: HALF + HALF * np.tanh(HALF * x)),
    "Tanh": (_none, np.tanh),
    "Softplus": (_none, lambda x: np.logaddexp(x, 0)),
    "HardSigmoid": (_line, lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1)),
    "Clip": (_bounds, np.clip),
    "LeakyRelu": (_slope_below, lambda x, alpha: np.where(x > 0, x, alpha * x)),
}
"""Operators with the attributes that points tell, and their formulas."""
