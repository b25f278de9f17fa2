"""Rules over linear layers: shares of relevance, each a sum of terms (see `rule`).

With x', w', b' the modified input, weight and bias of each term and Z = Σ f(x'; w', b'):

    s = factor · [where] · R / stabilize(Z),    R_in = Σ x' · vjp(s; w')

in the notation of Montavon et al. 2019.  Several active inputs (a sum of branches) share the same
Z.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.annotations import PADDING_OF
from lrp_onnx.graph.arithmetic import Operand, add, express, multiply, sign, tensor
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.lrp.rule import Share, Term
from lrp_onnx.ops.registry import REGISTRY
from lrp_onnx.ops.stabilize import ratio
from lrp_onnx.propagation.conservation import Account
from lrp_onnx.propagation.layer import Layer
from lrp_onnx.propagation.node_derivative import numbers, vjp

__all__ = [
    "EPSILON",
    "Modified",
    "booked_by_shares",
    "by_shares",
    "constant_input",
    "layer_of",
    "modified",
]

WITH_SHARES = ("linear", "sum", "maximum", "bilinear", "norm", "cell", "recurrent")
"""Kinds that a rule made of terms can take as linear."""
EPSILON = 1e-6
"""The stabilizer of rules without an `epsilon` parameter."""


@dataclass
class Modified:
    """One term with its operands in the graph."""

    factor: float
    x: dict[int, Operand]
    w: Operand | None
    b: Operand


@dataclass(frozen=True)
class Shared:
    """One share of relevance on its way to the inputs."""

    factor: float
    terms: Sequence[Modified]
    relevance: ir.Value
    """What the share takes, but for its factor."""
    z: ir.Value
    s: ir.Value


def by_shares(
    emit: Emit, site: Assigned, arriving: Sequence[ir.Value | None]
) -> dict[int, ir.Value]:
    """The relevance of each active input of a linear node under a rule made of shares.

    arriving: relevance shaped like each output -> each result shaped like its input. Raises
    RuleError where the rule does not fit the node.
    """
    layer = layer_of(emit, site)
    totals: dict[int, Operand] = dict.fromkeys(layer.active, 0.0)
    for shared in shares_of(emit, site, layer, arriving):
        _accumulate(emit, layer, shared.terms, shared.s, totals)
    return {i: _tensor(emit, total, layer.node.inputs[i]) for i, total in totals.items()}


def shares_of(
    emit: Emit, site: Assigned, layer: Layer, arriving: Sequence[ir.Value | None]
) -> Iterator[Shared]:
    """The shares of which any relevance goes on."""
    relevance, *others = arriving
    if relevance is None or any(r is not None for r in others):
        raise RuleError(
            "relevance arrives at another output than its first. Make that tensor an output of the "
            "model and choose another with --output"
        )
    for share in site.rule.shares:
        terms = [m for term in share.terms if (m := modified(emit, layer, term)) is not None]
        z = _sum_of_terms(emit, layer, terms)
        if isinstance(z, float):
            continue
        factor = _number(express(emit, share.factor, layer.values))
        epsilon = layer.values.get("epsilon", EPSILON)
        taken = _masked(emit, layer, share, relevance)
        s = multiply(emit, factor, ratio(emit, taken, z, epsilon))
        if isinstance(s, ir.Value):
            yield Shared(factor, terms, taken, z, s)


def booked_by_shares(
    emit: Emit, site: Assigned, arriving: Sequence[ir.Value | None]
) -> tuple[Operand, Operand, Operand]:
    """What bias, stabilizer and rule take of the relevance that arrives."""
    layer, times = layer_of(emit, site), 1
    if site.step.kind == "bilinear":
        times = len(layer.active)
    account = Account(emit, [r for r in arriving if r is not None])
    for shared in shares_of(emit, site, layer, arriving):
        own = _without_bias(emit, layer, shared.terms)
        lost = _bias_is_lost(shared.terms)
        account.add_share(shared.factor, shared.relevance, shared.s, shared.z, own, lost, times)
    return account.bias, account.stabilizer, account.dropped


def layer_of(emit: Emit, site: Assigned) -> Layer:
    """The node as a linear layer; a rule with `operator` takes the node as that one instead."""
    node, op = site.step.node, site.step.op
    if site.rule.operator is not None:
        op = REGISTRY["", site.rule.operator]
        same = forward_copy(emit, node, {}, op_type=op.name).producer()
        assert same is not None
        node = same
    if op.vjp is None or site.step.kind not in WITH_SHARES:
        raise RuleError(
            f"it is made of terms of a linear layer, and the node is of kind {site.step.kind!r}. "
            "Choose another"
        )
    layer = Layer(op, node, site.step.active, site.settings)
    layer.values = numbers(emit, site, layer.z(emit))
    return layer


def modified(emit: Emit, layer: Layer, term: Term) -> Modified | None:
    """The term's operands; None if it contributes nothing."""
    factor = _number(express(emit, term.factor, layer.values))
    x = {i: _modified_input(emit, layer, term, i) for i in layer.active}
    w: Operand | None = None
    b: Operand = 0.0
    if layer.weight is not None:
        own = layer.node.inputs[layer.weight]
        assert own is not None
        w = express(emit, term.w, {**layer.values, "w": own})
    elif term.w != "w":
        raise RuleError("it modifies weights, and the node has none. Choose another, such as norm")
    if layer.bias is not None:
        b = express(emit, term.b, {**layer.values, "b": layer.bias})
    if b == 0.0 and (w == 0.0 or all(v == 0.0 for v in x.values())):
        return None
    return Modified(factor, x, w, b)


def _modified_input(emit: Emit, layer: Layer, term: Term, i: int) -> Operand:
    x = layer.node.inputs[i]
    assert x is not None
    values = {**layer.values, "x": x}
    for name, setting in layer.settings.items():
        if isinstance(setting, tuple):
            values[name] = _per_channel(emit, layer, name, setting, i)
    return express(emit, term.x, values)


def _per_channel(
    emit: Emit, layer: Layer, name: str, setting: tuple[float, ...], i: int
) -> ir.Value:
    """One number per channel, shaped to broadcast against input `i`."""
    x = layer.node.inputs[i]
    assert x is not None
    axis = layer.op.channel_axis(layer.node, i) % known_rank(x)
    size = x.shape[axis] if x.shape is not None else None
    if isinstance(size, int) and size != len(setting):
        raise RuleError(
            f"parameter {name!r} has {len(setting)} numbers and the input {size} channels. Give "
            f"one or {size}"
        )
    shape = np.where(np.arange(known_rank(x)) == axis, len(setting), 1)
    return emit.constant(np.reshape(setting, shape))


def _sum_of_terms(emit: Emit, layer: Layer, terms: Sequence[Modified]) -> Operand:
    """Z: the number 0 if no term is left."""
    z: Operand = 0.0
    for term in terms:
        z = add(emit, z, multiply(emit, term.factor, _forward(emit, layer, term, term.b)))
    return z


def _forward(emit: Emit, layer: Layer, term: Modified, b: Operand) -> ir.Value:
    """f(x'; w', b'), which is the forward's own tensor where nothing is modified."""
    node = layer.node
    own = all(x is node.inputs[i] for i, x in term.x.items())
    own = own and (b is layer.bias or (b == 0.0 and layer.bias is None))
    own = own and (layer.weight is None or term.w is node.inputs[layer.weight])
    if own:
        return layer.z(emit)
    replaced: dict[int, Input] = {i: _operand(emit, layer, v, i) for i, v in term.x.items()}
    if layer.bias is not None:
        replaced[2] = _bias_in_place(emit, layer, b)
    if layer.weight is None:
        return forward_copy(emit, node, replaced)
    assert term.w is not None
    replaced[layer.weight] = _tensor(emit, term.w, node.inputs[layer.weight])
    value = forward_copy(emit, node, replaced)
    product = sign(emit, next(iter(term.x.values()))) * sign(emit, term.w)
    if product and (b == 0.0 or sign(emit, b) == product):
        emit.signs[value] = product
    return value


def _bias_in_place(emit: Emit, layer: Layer, b: Operand) -> Input:
    """b as the node's input 2, which a norm may require."""
    if isinstance(b, float) and layer.op.detached:
        return _tensor(emit, b, layer.bias)
    return None if b == 0.0 else b


def _accumulate(
    emit: Emit, layer: Layer, terms: Sequence[Modified], s: ir.Value, totals: dict[int, Operand]
) -> None:
    """Add x' · vjp(s; w') of each term to the relevance of each active input."""
    for term in terms:
        for i in layer.active:
            if term.x[i] == 0.0 or term.w == 0.0:
                continue
            own = None if layer.weight is None else layer.node.inputs[layer.weight]
            w = None if term.w is None else _tensor(emit, term.w, own)
            c = vjp(emit, layer.op, layer.node, [s], i, w, detached=True)
            own_x = _operand(emit, layer, term.x[i], i) if _own_pad(layer, i) else term.x[i]
            part = multiply(emit, multiply(emit, term.factor, own_x), c)
            totals[i] = add(emit, totals[i], part)


def _masked(emit: Emit, layer: Layer, share: Share, relevance: ir.Value) -> ir.Value:
    """The relevance this share takes: all, or that where its condition holds."""
    if share.where is None:
        return relevance
    mask = tensor(express(emit, share.where, {**layer.values, "z": layer.z(emit)}))
    return emit.op("Where", mask, relevance, 0.0)


def _without_bias(emit: Emit, layer: Layer, terms: Sequence[Modified]) -> Operand:
    """Σ f(x'; w', 0): what the inputs contribute to Z; a constant summand is a bias too."""
    inputs = range(len(layer.node.inputs) if layer.op.adds else 0)
    constant = {i: 0.0 for i in inputs if i not in layer.active}
    bare = [Modified(t.factor, {**t.x, **constant}, t.w, 0.0) for t in terms]
    return _sum_of_terms(emit, layer, bare)


def _bias_is_lost(terms: Sequence[Modified]) -> bool:
    """Whether the bias stands beside constants in place of the input, as in w²: the rule itself
    loses it.
    """
    return any(isinstance(v, float) for t in terms for v in t.x.values())


def _operand(emit: Emit, layer: Layer, value: Operand, i: int) -> ir.Value:
    """A modified input as a tensor; a constant one is computed for one sample where samples are
    apart, and padded with zeros as the input is.
    """
    if isinstance(value, ir.Value) and value.const_value is None:
        return value
    pad = _own_pad(layer, i)
    x = layer.node.inputs[i] if pad is None else pad.inputs[0]
    assert x is not None
    copied = expand_like(emit, value, x, one_sample=layer.op.one_sample(layer.node, i))
    return copied if pad is None else emit.op("Pad", copied, pad.inputs[1])


def constant_input(emit: Emit, layer: Layer, term: Modified, i: int) -> ir.Value:
    """A term's input that is a number or constants, as a tensor."""
    return _operand(emit, layer, term.x[i], i)


def _own_pad(layer: Layer, i: int) -> ir.Node | None:
    """The Pad in front of input `i` that is the layer's own padding, which holds no input."""
    x = layer.node.inputs[i]
    producer = None if x is None else x.producer()
    return producer if producer is not None and PADDING_OF in producer.metadata_props else None


def _tensor(emit: Emit, value: Operand, like: ir.Value | None) -> ir.Value:
    """A number as a tensor of that shape; a tensor as it is."""
    if isinstance(value, ir.Value):
        return value
    assert like is not None
    return expand_like(emit, value, like)


def _number(value: Operand) -> float:
    if not isinstance(value, float):
        raise RuleError(
            "its factor depends on a tensor. Use numbers and parameters that are numbers"
        )
    return value
