"""Rules are data (`rule_file` reads them).

A rule takes one of two forms.  Over a layer that is linear in its input it is a sum of shares,

    R_in = Σ_share factor · Σ_term x' · vjp([where] · R / stabilize(Σ_term f(x'; w', b')), w'),

where f is the layer itself with modified input x', weight w' and bias b' (Montavon et al. 2019, eq.
10.4). Over any other node it is one expression, `relevance`, of R, the input x, the output y,
`vjp`, the node's vector-Jacobian product with R, and `total`, the sum of R over its own axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lrp_onnx.errors import RuleError
from lrp_onnx.graph.expression import Expression, names, parse

__all__ = ["INPUT_ENDS", "Parameter", "Rule", "Setting", "Share", "Term"]

Setting = float | tuple[float, ...] | str
"""A parameter's value: one number, one per channel, or an expression of z such as `0.25*rms(z)`."""

INPUT_ENDS = ("input minimum", "input maximum")
"""What a parameter may be implied by: the range of the values that the input can have."""


@dataclass(frozen=True)
class Parameter:
    """A rule's parameter: without a default the user must give it."""

    default: Setting | None = None
    minimum: float | None = None
    maximum: float | None = None
    per_channel: bool = False
    at_most: str | None = None
    """Another parameter that must be as large, channel by channel."""
    implied: str | None = None
    """Which of INPUT_ENDS it is where the user does not set it and the input's range is known."""
    by_rule_only: bool = False
    """Whether `--set` reaches it only as RULE.NAME."""

    def check(self, value: object, what: str) -> Setting:
        """Return `value` as a setting; RuleError (naming `what`) if it is of another type or out of
        range.
        """
        if isinstance(value, str):
            try:
                parse(value, frozenset("z"))
            except RuleError as e:
                example = "such as 0.25 or 0.25*rms(z)"
                raise RuleError(
                    f"{what}: {e} Give a number or an expression of z, {example}."
                ) from e
            return value
        if isinstance(value, list | tuple) and self.per_channel:
            return tuple(self._number(v, what) for v in value)
        return self._number(value, what)

    def _number(self, value: object, what: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            wanted = (
                "a number or a list of numbers, one per channel" if self.per_channel else "a number"
            )
            raise RuleError(f"{what} is {value!r}. Give {wanted}.")
        below = self.minimum is not None and value < self.minimum
        above = self.maximum is not None and value > self.maximum
        if below or above or not math.isfinite(value):
            low = "-inf" if self.minimum is None else f"{self.minimum:g}"
            high = "inf" if self.maximum is None else f"{self.maximum:g}"
            raise RuleError(
                f"{what} is {value!r}, out of range. Give a number from {low} to {high}."
            )
        return float(value)


@dataclass(frozen=True)
class Term:
    """One modified copy of the layer, f(x'; w', b'), times a factor."""

    x: Expression
    w: Expression
    b: Expression
    factor: Expression


@dataclass(frozen=True)
class Share:
    """A part of the relevance, R·[where]·factor, shared out in proportion to the terms."""

    terms: tuple[Term, ...]
    where: Expression | None
    factor: Expression


@dataclass(frozen=True)
class Rule:
    """A rule as its file defines it; exactly one of `shares` and `relevance` is there."""

    name: str
    summary: str
    reference: str
    formula: str
    parameters: Mapping[str, Parameter]
    shares: tuple[Share, ...] = ()
    relevance: Expression | None = None
    operator: str | None = None

    @property
    def by_derivative(self) -> bool:
        """Whether its expression reads the vector-Jacobian product."""
        return self.relevance is not None and "vjp" in names(self.relevance)

    @property
    def uniform(self) -> bool:
        """Whether every input gets the same share: neither inputs nor weights count."""
        terms = [term for share in self.shares for term in share.terms]
        return bool(terms) and all(isinstance(e, float) for t in terms for e in (t.x, t.w))

    @property
    def modifies_weights(self) -> bool:
        """Whether it needs a node with a weight."""
        return any(term.w != "w" for share in self.shares for term in share.terms)

    def settings(self, values: Mapping[str, object]) -> dict[str, Setting]:
        """The value of every parameter: the given ones checked, the others by default."""
        for name in values:
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise RuleError(
                    f"rule {self.name!r}: it has no parameter {name!r}. Its parameters: {known}."
                )
        settings = {}
        for name, parameter in self.parameters.items():
            value = values.get(name, parameter.default)
            if value is None:
                missing = [
                    f"--set {key}=VALUE" for key, p in self.parameters.items() if p.default is None
                ]
                raise RuleError(
                    f"rule {self.name!r}: parameter {name!r} has no default. Give "
                    f"{' '.join(missing)} (one number, "
                    "or one per channel separated by commas) in the units of the layer's input, "
                    "or, for a "
                    "picture's range, let --preprocess imply it."
                )
            settings[name] = parameter.check(value, f"rule {self.name!r}: parameter {name!r}")
        for name, parameter in self.parameters.items():
            if parameter.at_most is not None:
                _check_order(self.name, name, parameter.at_most, settings)
        return settings


def _check_order(rule: str, low: str, high: str, settings: Mapping[str, Setting]) -> None:
    a, b = (v if isinstance(v, tuple) else (v,) for v in (settings[low], settings[high]))
    count = max(len(a), len(b))
    pairs = zip(a * (count // len(a)), b * (count // len(b)), strict=False)
    if any(not isinstance(x, str) and not isinstance(y, str) and x > y for x, y in pairs):
        raise RuleError(
            f"rule {rule!r}: parameter {low!r} is {settings[low]!r}, above {high!r}, "
            f"{settings[high]!r}. Exchange them."
        )
