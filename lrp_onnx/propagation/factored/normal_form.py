"""Normal form of a share of a rule: how often it counts each of the four kinds of contributions.

A term's x' and w' are mostly sums of the positive and negative parts of x and w, so that a share is

    Z = Σ_{u,v ∈ {+,-}} Q[u][v] · f(xᵘ; wᵛ)  +  p·b⁺ + q·b⁻,

and two rules, however they are written, cost the same if their Q is the same.  With x of one sign,
or Q[+][+] = Q[-][-] and Q[+][-] = Q[-][+], only two numbers are left: Z = p·z₊ + q·z₋, where z₊ is
the sum of the positive contributions and z₋ of the negative ones; z₊ + z₋ = z is what the
forward pass computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrp_onnx.lrp.expression import Expression
from lrp_onnx.lrp.rule import Setting, Share

__all__ = ["NormalForm", "normal_form"]

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
    return NormalForm(
        ((of[0][0], of[0][1]), (of[1][0], of[1][1])), (bias[0], bias[1]), factor, where
    )


def _where(tree: Expression | None) -> str | None:
    """The side of 0 on which z must lie; None for any other condition."""
    if tree is None:
        return ""
    known = isinstance(tree, tuple) and tree[0] in ("<", ">") and tree[1:] == ("z", 0.0)
    return str(tree[0]) if known and isinstance(tree, tuple) else None


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
    if tree in (("pos", name), ("neg", name)):
        return (1.0, 0.0) if tree[0] == "pos" else (0.0, 1.0)
    if not isinstance(tree, tuple):
        return (0.0, 0.0) if tree == 0.0 else None
    operator, *operands = tree
    if operator in ("+", "-"):
        a, b = (_parts(t, name, numbers) for t in operands)
        if a is None or b is None:
            return None
        sign = 1.0 if operator == "+" else -1.0
        return a[0] + sign * b[0], a[1] + sign * b[1]
    if operator in ("*", "/"):
        return _multiple(operator, operands, name, numbers)
    return None


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
