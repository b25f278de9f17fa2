"""SmoothGrad (Smilkov et al. 2017): the mean of the gradients at n inputs with noise.

    R = 1/n · Σ_k ∂(m·y)/∂x (x + σ·ε_k),    σ = noise · (max x - min x),

maximum and minimum of each sample.  The mask m is formed once, at x.  The noise is the same in
every run and runtime (lrp_onnx.gradients.noise), and memory does not grow with n
(lrp_onnx.gradients.mean_gradient).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.gradients.leaves import check_apart, cut_at_leaves
from lrp_onnx.gradients.mean_gradient import mean_gradients
from lrp_onnx.gradients.noise import Noise
from lrp_onnx.gradients.path_points import PointPath, in_dtype
from lrp_onnx.gradients.quadrature import Quadrature
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.names import tensor_name
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.lrp.assigned import Walk
from lrp_onnx.lrp.assignment import Assignment

__all__ = ["smooth_grad"]


@dataclass(frozen=True)
class NoisyPoints(PointPath):
    """A point's number is that of the draw."""

    noises: Mapping[ir.Value, Noise]
    spreads: Mapping[ir.Value, ir.Value]
    """σ of each leaf, of as many axes."""

    method = "smooth-grad"

    def at(self, emit: Emit, x: ir.Value, number: ir.Value, lifted: bool) -> ir.Value:
        """x with the noise of that draw."""
        number = emit.op("Cast", number, to=int(ir.DataType.FLOAT))
        noise = in_dtype(emit, self.noises[x].draw(emit, number, lifted))
        spread, value = self.spreads[x], emit.at_least_float(x)
        if lifted:
            spread, value = (emit.op("Unsqueeze", v, emit.ints(0)) for v in (spread, value))
        return emit.op("Add", value, emit.op("Mul", noise, spread))


def smooth_grad(
    emit: Emit,
    model: ir.Model,
    assignment: Assignment,
    mask: ir.Value,
    walk: Walk,
    account: str = "",
) -> dict[ir.Value, ir.Value]:
    """The relevance of each explained input, in its shape.

    Raises TargetError where a sample is one number, which has no range.
    """
    cut = cut_at_leaves(assignment.inputs, assignment.nodes)
    check_apart(cut)
    batched, noises, spreads = assignment.class_axis != 0, {}, {}
    for k, x in enumerate(cut.leaves):
        emit.write_for(x, f"noise/{x.name}", "smooth-grad")
        noises[x] = Noise(emit, x, k, len(cut.leaves), batched)
        spreads[x] = _spread(emit, x, assignment.noise, batched)
    point_path = NoisyPoints(model, cut, assignment.start_at, mask, walk, noises, spreads)
    count = assignment.samples
    points = Quadrature(np.arange(1, count + 1, dtype=float), np.full(count, 1 / count))
    means, _ = mean_gradients(emit, point_path, points)
    for x, g in means.items():
        emit.shaped(g, x)
    embedded = {x: means[x] for x in cut.embedded if x in means}
    return means | walk(emit, cut.before, embedded, assignment.inputs)


def _spread(emit: Emit, x: ir.Value, noise: float, batched: bool) -> ir.Value:
    """σ: that part of each sample's range."""
    axes = list(range(int(batched), known_rank(x)))
    if not axes:
        raise TargetError(
            f"method 'smooth-grad': {tensor_name(x)!r} of shape {x.shape} has one number a sample, "
            "and no range that noise could be a part of. Choose another method."
        )
    high, low = (emit.op(f"Reduce{end}", x, emit.ints(*axes), keepdims=1) for end in ("Max", "Min"))
    return emit.op("Mul", emit.op("Sub", high, low), noise)
