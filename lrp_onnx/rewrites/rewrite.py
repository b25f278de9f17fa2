"""Every relevance node in its cheapest form: named rewrites, tried in order.

A rewrite says in its docstring what it computes and why that is what the rule says; it raises
DoesNotApply with the reason where its pattern or its condition does not hold.  Where none applies
the node stays what its rule says (`propagation/interpreter.py`), and `--print-after rewrite` tells
why.  What rewrites use:

- Z = p·z₊ + q·z₋ (see `normal_form`) needs z₊ or z₋ alone, the other being what is left of z.
- A sum whose sign is known carries its stabilizer in its bias.
- |x| and |w| make one forward of two: z₊ = (z + f(|x|; |w|, |b|))/2 where that does not cancel.
- Shares where z > 0 and where z < 0 exclude each other: one quotient serves both.
- What MaxPool gives back to the maxima is divided before, while it is small.

Differences stand where they lose nothing (see `DIRECT_BELOW`), and a denominator is never 0, also
where R is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import onnx_ir as ir

from lrp_onnx.errors import LrpError, UnsupportedError
from lrp_onnx.graph.annotations import ACCOUNT_COLUMNS
from lrp_onnx.graph.arithmetic import Operand, sign
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.dialect import Expansion, meant_by, write_out
from lrp_onnx.graph.dtypes import HALF
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.refusal import refusal
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.propagation.interpreter import (
    account,
    calmed,
    has_sizes_of_output,
    interpret,
    own_sizes,
)
from lrp_onnx.propagation.layer import Layer
from lrp_onnx.propagation.shares import EPSILON, layer_of
from lrp_onnx.rewrites import constant_inputs, own_output
from lrp_onnx.rewrites.moves import moved, passed_on
from lrp_onnx.rewrites.normal_form import canonical, normal_forms
from lrp_onnx.rewrites.product import (
    DoesNotApply,
    Relevance,
    masked,
    summed,
    whole,
)
from lrp_onnx.rewrites.signed_shares import SignedShares

__all__ = ["LINEAR", "rewrite"]

Propagated = dict[int, Relevance]


@dataclass(frozen=True)
class Match:
    """What a rewrite looks at: the node, its rule, what arrives; of a linear layer its parts."""

    emit: Emit
    site: Assigned
    arriving: Sequence[Relevance | None]

    @cached_property
    def relevance(self) -> Relevance:
        """That of the only output."""
        relevance, *others = self.arriving
        if relevance is None or any(r is not None for r in others):
            raise DoesNotApply("relevance arrives at several outputs, and one quotient needs one")
        return relevance

    @cached_property
    def layer(self) -> Layer:
        """The node as a linear layer, under a stabilizer that is a number above 0."""
        if not isinstance(self.epsilon, float):
            raise DoesNotApply("epsilon depends on z")
        if not self.epsilon:
            raise DoesNotApply("epsilon is 0")
        return self.stabilized

    @cached_property
    def stabilized(self) -> Layer:
        """The node as a linear layer, under a stabilizer that is nowhere below 0."""
        layer = layer_of(self.emit, self.site)
        if sign(self.emit, layer.values.get("epsilon", EPSILON)) < 1:
            raise DoesNotApply("epsilon depends on z, and may be below 0")
        if layer.node.outputs[0].dtype in HALF:
            raise DoesNotApply("z is in half precision")
        return layer

    @property
    def epsilon(self) -> Operand:
        """The stabilizer."""
        return self.stabilized.values.get("epsilon", EPSILON)

    @property
    def number(self) -> float:
        """The stabilizer of `layer`."""
        assert isinstance(self.epsilon, float)
        return self.epsilon

    @cached_property
    def weighted(self) -> Layer:
        """The layer with a weight whose parts can be taken."""
        if self.layer.weight is None or self.site.step.kind != "linear":
            raise DoesNotApply("there is no weight to take positive and negative parts of")
        return self.layer

    @cached_property
    def signed(self) -> SignedShares:
        """Its positive and negative contributions, under shares in normal form."""
        layer, emit = self.weighted, self.emit
        shares = normal_forms(self.site.rule.shares, self.site.settings)
        if not shares:
            raise DoesNotApply("its terms are no sums of parts of x and w")
        w = layer.node.inputs[1 - layer.active[0]]
        assert w is not None
        if sign(emit, w):
            raise DoesNotApply("all weights have one sign, so that half of the terms are 0")
        signed = SignedShares(emit, layer, self.relevance, self.number, shares)
        if not signed.shares:
            raise DoesNotApply("no share gets any relevance")
        return signed


Rewrite = Callable[[Match], Propagated]


def own_output_of(match: Match) -> Propagated:
    """See `own_output`."""
    if not own_output.is_unmodified(match.site):
        raise DoesNotApply("the rule changes x, w or b")
    parts = (match.emit, match.site, match.stabilized, match.relevance, match.epsilon)
    return own_output.by_own_output(*parts)


def by_signs(method: Callable[[SignedShares], Relevance]) -> Rewrite:
    """A rewrite of `SignedShares`."""
    return lambda match: {match.weighted.active[0]: method(match.signed)}


def constants(match: Match) -> Propagated:
    """See `constant_inputs`."""
    shares, relevance = match.site.rule.shares, match.relevance
    r = constant_inputs.by_constant_inputs(
        match.emit, match.weighted, shares, relevance, match.number
    )
    return {match.layer.active[0]: r}


def on_product(
    function: Callable[[Emit, Assigned, Sequence[Relevance | None]], Propagated],
) -> Rewrite:
    """A rewrite of `moves`."""
    return lambda match: function(match.emit, match.site, match.arriving)


OTHERS: dict[str, Rewrite] = {"passed on": on_product(passed_on), "moved": on_product(moved)}
"""The rewrites of other rules, where a product arrives."""
LINEAR: dict[str, Rewrite] = {
    "own output": own_output_of,
    "mirrored shares": by_signs(SignedShares.mirrored_shares),
    "share above zero": by_signs(SignedShares.share_above_zero),
    "opposite shares above zero": by_signs(SignedShares.opposite_shares_above_zero),
    "opposite shares of own output": by_signs(SignedShares.opposite_shares_of_own_output),
    "shares of one sign": by_signs(SignedShares.shares_of_one_sign),
    "constant inputs": constants,
}
"""The rewrites of rules made of shares, the first that applies is taken."""


def rewrite(emit: Emit) -> list[str]:
    """Rewrite all relevance nodes; returns which stay what their rules say, and why.

    Raises LrpError naming the node where a rule does not apply; UnsupportedError names all that
    cannot be explained.
    """
    reasons: dict[str, str] = {}
    rewrites: dict[str, Expansion] = {
        "Propagate": partial(_propagated, reasons),
        "Account": _accounted,
        "Sum": summed,
        "Mask": masked,
        "Whole": whole,
    }
    write_out(emit, rewrites)
    if emit.refused:
        raise refusal(dict(reversed(emit.refused.items())))
    return [f"{name}: as its rule says, since {why}" for name, why in reasons.items()]


def _propagated(reasons: dict[str, str], emit: Emit, node: ir.Node) -> Sequence[ir.Value]:
    """The relevance of each active input."""
    site: Assigned = meant_by(node)
    arriving = [None if r is None else Relevance.of(r) for r in node.inputs]
    emit.at(site.step.node, site.rule.name)
    inputs = {i: v for i in site.step.active if (v := site.step.node.inputs[i]) is not None}
    try:
        propagated = _cheapest(reasons, emit, site, arriving)
    except UnsupportedError as e:
        emit.refused.update(e.nodes or {site.step.node: str(e)})
        # anything of its shape: only whether the nodes before it are refused too still counts
        return list(inputs.values())
    except LrpError as e:
        where = f"node {name_of(site.step.node)!r} ({site.step.node.op_type})"
        raise type(e)(f"{where}, rule {site.rule.name!r}: {e}") from e
    for i, v in inputs.items():
        emit.shaped(propagated[i].coefficient, v)
    return [propagated[i].value(emit) for i in inputs]


def _cheapest(
    reasons: dict[str, str], emit: Emit, site: Assigned, arriving: Sequence[Relevance | None]
) -> Propagated:
    if site.may_be_unused:
        calm = calmed(emit, site, _whole(emit, arriving))
        arriving = [None if r is None else Relevance(r) for r in _whole(emit, arriving)]
        all_of = _cheapest(reasons, emit, replace(calm, may_be_unused=False), arriving)
        apart = [i for i in all_of if calm is not site and not has_sizes_of_output(site, i)]
        summed = {i: own_sizes(emit, site, i, all_of[i].whole(emit)) for i in apart}
        return {**all_of, **{i: Relevance(r) for i, r in summed.items()}}
    is_product = any(r is not None and r.factor is not None for r in arriving)
    if emit.optimize and (site.rule.shares or is_product):
        site = replace(site, rule=canonical(site.rule, site.settings))
        match, failed = Match(emit, site, arriving), dict[str, list[str]]()
        for name, rewrite in (LINEAR if site.rule.shares else OTHERS).items():
            try:
                return rewrite(match)
            except DoesNotApply as reason:
                failed.setdefault(str(reason), []).append(name)
        parts = (f"{reason} ({', '.join(names)})" for reason, names in failed.items())
        reasons[name_of(site.step.node)] = "; ".join(parts)
    plain = interpret(emit, site, _whole(emit, arriving))
    return {i: Relevance(r) for i, r in plain.items()}


def _whole(emit: Emit, relevance: Sequence[Relevance | None]) -> list[ir.Value | None]:
    return [None if r is None else r.whole(emit) for r in relevance]


def _accounted(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """What became of relevance at a node."""
    site: Assigned = meant_by(node)
    emit.at(site.step.node, site.rule.name)
    whole = _whole(emit, [None if r is None else Relevance.of(r) for r in node.inputs])
    first = len(site.step.node.outputs)
    propagated = [r for r in whole[first:] if r is not None]
    if site.step.node in emit.refused:
        return [emit.constant([0.0] * len(ACCOUNT_COLUMNS))]
    return [account(emit, site, whole[:first], propagated)]
