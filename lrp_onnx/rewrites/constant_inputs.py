"""Rules that put constants in the place of the input (zbox, flat, w²): what they share is computed
when a runtime loads the model, or once for all channels.

zbox: Z = f(x; w) - f(low; w⁺) - f(high; w⁻) is the forward's own z minus a constant, and what low
and high share is one product with s, over the weights low·w⁺ + high·w⁻.

flat: with weights of 1 every output channel sees the same sum of inputs, so that relevance is
summed over the channels first and goes back as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand, add, divide, multiply, subtract, tensor
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.lrp.rule import Share
from lrp_onnx.ops.stabilize import ratio
from lrp_onnx.propagation.layer import Layer
from lrp_onnx.propagation.shares import Modified, constant_input, modified
from lrp_onnx.rewrites.product import DoesNotApply, Relevance

__all__ = ["by_constant_inputs"]


def by_constant_inputs(
    emit: Emit, layer: Layer, shares: Sequence[Share], relevance: Relevance, epsilon: float
) -> Relevance:
    """R_in of a convolution under one share over constants."""
    (share, *more), (i,) = shares, layer.active
    if more or share.where is not None or layer.node.op_type != "Conv":
        raise DoesNotApply("its terms are no sums of parts of x and w, nor one share of a Conv")
    terms = [m for term in share.terms if (m := modified(emit, layer, term)) is not None]
    own = [t for t in terms if t.x[i] is layer.node.inputs[i]]
    rest = [t for t in terms if t not in own]
    inputs = [t.x[i] for t in rest]
    if any(isinstance(x, ir.Value) and x.const_value is None for x in inputs):
        raise DoesNotApply("a term's x is neither a sum of parts of x nor constant")
    if len(own) == 1 and rest and share.factor == 1.0 and _is_unmodified(layer, own[0]):
        return _around_own_output(emit, layer, own[0], rest, relevance, epsilon)
    if not own and len(rest) == 1 and share.factor == 1.0 and isinstance(rest[0].w, float):
        return _alike_in_all_channels(emit, layer, rest[0], relevance, epsilon)
    raise DoesNotApply("its terms are neither x beside constants nor one constant")


def _is_unmodified(layer: Layer, term: Modified) -> bool:
    """Whether the term is the layer as it is, but for its bias."""
    return term.w is layer.node.inputs[1] and term.factor == 1.0 and term.b == 0.0


def _around_own_output(
    emit: Emit,
    layer: Layer,
    own: Modified,
    rest: Sequence[Modified],
    relevance: Relevance,
    epsilon: float,
) -> Relevance:
    """x·vjp(s; w) + Σ factor·x'·vjp(s; w') with Z = z - b + Σ factor·f(x'; w')."""
    (i,) = layer.active
    channels = any(isinstance(t.x[i], ir.Value) for t in rest)
    if channels and _groups(layer) > 1:
        raise DoesNotApply("a constant per channel meets groups of channels")
    if rest[0].factor != -1.0 or any(t.b != 0.0 or isinstance(t.w, float) for t in rest):
        raise DoesNotApply("its constants do not stand for an input that is taken away")
    constant: Operand = 0.0
    for k, term in enumerate(rest):
        replaced: dict[int, Input] = {i: constant_input(emit, layer, term, i), 1: term.w}
        if layer.bias is not None:  # the own output has it: the first of the others takes it away
            replaced[2] = None if k else layer.bias
        value = forward_copy(emit, layer.node, replaced)
        constant = add(emit, constant, multiply(emit, term.factor, value))
    z = layer.node.outputs[0]
    if relevance.is_of_relu(z) and relevance.factor is not None:
        z = relevance.factor  # where they differ relevance is 0
    own_sum = tensor(add(emit, z, constant))
    s = ratio(emit, relevance.whole(emit), own_sum, epsilon)
    by_constants: Operand = 0.0  # the constants stand in the weights: x'·vjp(s; w') = vjp(s; x'·w')
    for term in rest:
        scaled = multiply(emit, multiply(emit, term.factor, term.x[i]), _operand(term.w))
        by_constants = add(emit, by_constants, scaled)
    own_w = layer.node.inputs[1]
    assert own_w is not None
    if isinstance(by_constants, float):
        raise DoesNotApply("its constants are 0")
    by_own, by_rest = layer.backward(emit, [s], [[own_w, by_constants]])
    total = tensor(add(emit, multiply(emit, own.x[i], by_own), by_rest))
    return Relevance(total)


def _operand(w: Operand | None) -> Operand:
    assert w is not None
    return w


def _alike_in_all_channels(
    emit: Emit, layer: Layer, term: Modified, relevance: Relevance, epsilon: float
) -> Relevance:
    """x'·vjp(ΣR / stabilize(f(x'; w')); w') for a number w', the sum over the output channels."""
    (i,), w = layer.active, layer.node.inputs[1]
    shape = None if w is None else static_shape(w)
    if shape is None or _groups(layer) > 1 or term.b != 0.0 or term.factor != 1.0:
        raise DoesNotApply("channels are grouped or of unknown number, or the bias counts")
    assert isinstance(term.w, float)
    if not isinstance(term.x[i], float) or term.x[i] * term.w <= 0:
        raise DoesNotApply("its constant is not positive")
    one = emit.constant(np.full((1, *shape[1:]), term.w))
    replaced: dict[int, Input] = {i: constant_input(emit, layer, term, i), 1: one}
    if layer.bias is not None:
        replaced[2] = None
    z = subtract(emit, forward_copy(emit, layer.node, replaced), -epsilon)
    whole = emit.op("ReduceSum", relevance.whole(emit), emit.ints(1), keepdims=1)
    s = tensor(divide(emit, whole, z))
    (c,) = layer.backward(emit, [s], [[one]])
    total = tensor(multiply(emit, term.x[i], c))
    return Relevance(total)


def _groups(layer: Layer) -> int:
    group = layer.node.attributes.get("group")
    return 1 if group is None else group.as_int()
