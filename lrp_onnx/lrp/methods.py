"""The methods: how one value per input element is made of the walk's result.

With g = ∂f/∂x, where f is the explained value (m·y, behind a final softmax or sigmoid at the
logits, as in LRP):

    lrp                    the composite's rules (Montavon et al. 2019)
    gradient               g (Simonyan et al. 2014)
    input-x-gradient       x · g (Shrikumar et al. 2016)
    saliency               |g| (Simonyan et al. 2014)
    integrated-gradients   (x - x₀) · mean of g on the way from x₀ to x (Sundararajan et al. 2017)

An integer input, such as token ids, has no gradient of its own: the value is formed at the float
tensor that it becomes (its embedding), then summed over it.  So a token's saliency is the L1 norm
of its embedding's gradient, and its input × gradient the product of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import CompositeError, TargetError
from lrp_onnx.graph.builder import Emit, compute_dtype

__all__ = ["METHODS", "PATH", "STEPS", "attribution", "settled"]

METHODS = ("lrp", "gradient", "input-x-gradient", "saliency", "integrated-gradients")
PATH = "integrated-gradients"
STEPS = 32
"""Points on the path of integrated gradients, unless the user says otherwise."""
MOST_STEPS = 10_000


def settled(
    method: str,
    composite: str | None,
    rules: Mapping[str, str],
    parameters: Mapping[str, Any],
    start: str | None,
    steps: int | None,
    baseline: object,
    conditions: Sequence[str],
    relevance_at: Sequence[str],
) -> tuple[str, str, int]:
    """Composite, start and steps where the user left them open (None).

    Raises TargetError or CompositeError for what a method has no use for.
    """
    if method not in METHODS:
        raise TargetError(f"method {method!r} is unknown. Give one of {', '.join(METHODS)}.")
    if method != PATH and (steps is not None or baseline is not None):
        given = "baseline" if steps is None else "steps"
        raise TargetError(f"{given}: method {method!r} takes none. Choose {PATH}, or leave it out.")
    if method == "lrp":
        return composite or "epsilon-plus-flat", start or "logit", STEPS
    if composite is not None or rules or parameters:
        given = f"composite {composite!r}" if composite else "rules" if rules else "parameters"
        raise CompositeError(
            f"{given}: method {method!r} takes the plain gradient at every node. Leave it out, or "
            "choose method lrp."
        )
    if start not in (None, "one"):
        raise TargetError(
            f"start {start!r}: method {method!r} differentiates the explained value, which is to "
            "start at one. Leave it out, or choose method lrp."
        )
    if method == PATH and conditions:
        raise TargetError(
            f"condition {conditions[0]!r}: method {PATH!r} multiplies gradients by the input's way "
            "from the baseline and takes none. Choose another method."
        )
    if method == PATH and relevance_at:
        raise TargetError(
            f"relevance at {relevance_at[0]!r}: method {PATH!r} follows the inputs from their "
            "baseline and explains nothing in between. Choose another method."
        )
    if steps is not None and steps < 1:
        raise TargetError(f"steps {steps}: the path has at least one. Give a number such as 32.")
    if steps is not None and steps > MOST_STEPS:
        raise TargetError(f"steps {steps}: the path has at most {MOST_STEPS}. Give fewer.")
    return "gradient", "one", STEPS if steps is None else steps


def attribution(emit: Emit, method: str, x: ir.Value, g: ir.Value) -> ir.Value:
    """What the method makes of a float tensor and its gradient, both of one shape."""
    emit.source, emit.rule, emit.dtype = str(x.name), method, compute_dtype(x.dtype)
    if method == "gradient":
        return g
    r = emit.op("Mul", x, g) if method == "input-x-gradient" else emit.op("Abs", g)
    r.shape = x.shape
    return r
