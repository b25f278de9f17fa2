"""Normal form of a share of a rule: how often it counts each of the four kinds of contributions.

A term's x' and w' are mostly sums of the positive and negative parts of x and w, so that a share is

    Z = Σ_{u,v ∈ {+,-}} Q[u][v] · f(xᵘ; wᵛ)  +  p·b⁺ + q·b⁻,

and two rules, however they are written, are one if their Q is the same: `canonical` spells each in
one way.  With x of one sign, or Q[+][+] = Q[-][-] and Q[+][-] = Q[-][+], only two numbers are left:
Z = p·z₊ + q·z₋, where z₊ is the sum of the positive contributions and z₋ of the negative ones;
z₊ + z₋ = z is what the forward pass computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from lrp_onnx.graph.expression import Expression
from lrp_onnx.lrp.rule import Rule, Setting, Share, Term

__all__ = ["NormalForm", "canonical", "normal_form", "normal_forms"]

Parts = tuple[float, float]
"""Multiples of the positive and the negative part."""


@dataclass(frozen=True)
class NormalForm:
    """One share, its factor apart."""

    of: tuple[Parts, Parts]
    """Q[+] and Q[-], each over w⁺ and w⁻."""
    bias: Parts
    factor: float
    where: str
    """">" or "<" for a share where z is positive or negative, empty for one everywhere."""

    def parts(self, sign: int) -> Parts | None:
        """(p, q) for an input of that sign, 0 if it has both; None if two numbers do not do."""
        (pp, pn), (np_, nn) = self.of
        if sign:
            return (pp, pn) if sign > 0 else (nn, np_)
        return (pp, pn) if (pp, pn) == (nn, np_) else None


def normal_form(share: Share, settings: Mapping[str, Setting]) -> NormalForm | None:
    """The normal form; None for a share that is no sum of parts, such as w² or a constant x."""
    numbers = {name: v for name, v in settings.items() if isinstance(v, float)}
    where = _where(share.where)
    factor = _number(share.factor, numbers)
    if where is None or factor is None:
        return None
    of, bias = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
    for term in share.terms:
        times = _number(term.factor, numbers)
        x, w, b = (_parts(t, n, numbers) for t, n in ((term.x, "x"), (term.w, "w"), (term.b, "b")))
        if times is None or x is None or w is None or b is None:
            return None
        for u in (0, 1):
            bias[u] += times * b[u]
            for v in (0, 1):
                of[u][v] += times * x[u] * w[v]
    (pp, pn), (np_, nn), (p, q) = (tuple(map(_rounded, pair)) for pair in (*of, bias))
    return NormalForm(((pp, pn), (np_, nn)), (p, q), _rounded(factor), where)


def _rounded(number: float) -> float:
    """To as many digits as sums and products of a few numbers leave right."""
    return float(f"{number:.12g}")


def normal_forms(
    shares: tuple[Share, ...], settings: Mapping[str, Setting]
) -> tuple[NormalForm, ...]:
    """Those of all shares, in one order, of which shares of one denominator are one; empty where a
    share has none.
    """
    return _normalized(shares, tuple(settings.items()))[0]


def canonical(rule: Rule, settings: Mapping[str, Setting]) -> Rule:
    """The rule in the one spelling that all rules of its normal form get; as it is without one."""
    spelled = _normalized(rule.shares, tuple(settings.items()))[1]
    return replace(rule, shares=spelled) if spelled else rule


@lru_cache(maxsize=64)
def _normalized(
    shares: tuple[Share, ...], settings: tuple[tuple[str, Setting], ...]
) -> tuple[tuple[NormalForm, ...], tuple[Share, ...]]:
    """The normal forms of a rule's shares, and the shares spelled by them; nothing without one."""
    factors: dict[NormalForm, float] = {}
    for share in shares:
        form = normal_form(share, dict(settings))
        if form is None:
            return (), ()
        alike = replace(form, factor=1.0)
        factors[alike] = factors.get(alike, 0.0) + form.factor
    merged = [replace(form, factor=factor) for form, factor in factors.items()]
    forms = sorted(merged, key=lambda form: (form.where, form.of, form.bias), reverse=True)
    spelled = tuple(map(_spelled, forms))
    return tuple(forms), spelled if all(share.terms for share in spelled) else ()


def _spelled(form: NormalForm) -> Share:
    """A term over x⁺ and one over x⁻, or one over x where they have the same weights."""
    xs: list[Expression] = [("pos", "x"), ("neg", "x")]
    parts = [(x, of) for x, of in zip(xs, form.of, strict=True) if any(of)]
    if form.of[0] == form.of[1]:
        parts = [("x", of) for _, of in parts[:1]]
    biases = [form.bias, *[(0.0, 0.0)] * len(parts)]
    terms = [_term(x, of, bias) for (x, of), bias in zip(parts, biases, strict=False)]
    where = (form.where, "z", 0.0) if form.where else None
    return Share(tuple(terms), where, form.factor)


def _term(x: Expression, of: Parts, bias: Parts) -> Term:
    """The term of weights p·w⁺ + q·w⁻; as a factor where p = q, since a sum has no weight."""
    p, q = of
    if p != q:
        return Term(x, _mixed(of, "w"), _mixed(bias, "b"), 1.0)
    return Term(x, "w", _mixed((bias[0] / p, bias[1] / p), "b"), p)


def _mixed(parts: Parts, name: str) -> Expression:
    """p·v⁺ + q·v⁻ as an expression."""
    p, q = parts
    low, part = min(p, q), "pos" if p > q else "neg"
    own: Expression = name if low == 1 else ("*", low, name)
    more: Expression = ("*", max(p, q) - low, (part, name))
    return own if p == q else more if low == 0 else ("+", own, more)


def _where(tree: Expression | None) -> str | None:
    """The side of 0 on which z must lie; None for any other condition."""
    if tree is None:
        return ""
    sides: dict[Expression, str] = {
        (">", "z", 0.0): ">",
        ("<", 0.0, "z"): ">",
        ("<", "z", 0.0): "<",
        (">", 0.0, "z"): "<",
    }
    return sides.get(tree) if isinstance(tree, tuple) else None


def _number(tree: Expression, numbers: Mapping[str, float]) -> float | None:
    """The value of an expression of numbers alone."""
    if isinstance(tree, float):
        return tree
    if isinstance(tree, str):
        return numbers.get(tree)
    operator, *operands = tree
    of = [_number(t, numbers) for t in operands]
    if operator not in ARITHMETIC or any(v is None for v in of) or (operator == "/" and not of[1]):
        return None
    a, b = (v for v in of if v is not None)
    return float(ARITHMETIC[operator](a, b))


def _parts(tree: Expression, name: str, numbers: Mapping[str, float]) -> Parts | None:
    """An expression as multiples of pos(name) and neg(name)."""
    if tree == name:
        return 1.0, 1.0
    if not isinstance(tree, tuple):
        return (0.0, 0.0) if tree == 0.0 else None
    operator, *operands = tree
    if operator in ("pos", "neg", "abs"):
        return _one_sign(operator, _parts(operands[0], name, numbers))
    if operator == "*" and sorted(operands, key=str) == sorted([name, ("step", name)], key=str):
        return 1.0, 0.0
    if operator in ("+", "-"):
        a, b = (_parts(t, name, numbers) for t in operands)
        if a is None or b is None:
            return None
        sign = 1.0 if operator == "+" else -1.0
        return a[0] + sign * b[0], a[1] + sign * b[1]
    if operator in ("*", "/"):
        return _multiple(operator, operands, name, numbers)
    return None


def _one_sign(operator: Expression, parts: Parts | None) -> Parts | None:
    """The positive or negative part of p·v⁺ + q·v⁻, or its absolute value."""
    if parts is None:
        return None
    p, q = parts
    positive, negative = (max(p, 0.0), min(q, 0.0)), (min(p, 0.0), max(q, 0.0))
    return {"pos": positive, "neg": negative, "abs": (abs(p), -abs(q))}[str(operator)]


def _multiple(
    operator: str, operands: list[Expression], name: str, numbers: Mapping[str, float]
) -> Parts | None:
    left, right = operands
    if operator == "*" and _number(left, numbers) is not None:
        left, right = right, left
    parts, number = _parts(left, name, numbers), _number(right, numbers)
    if parts is None or number is None or (operator == "/" and number == 0):
        return None
    factor = 1 / number if operator == "/" else number
    return parts[0] * factor, parts[1] * factor


ARITHMETIC = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
