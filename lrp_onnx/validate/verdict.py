"""What `verify` found: accounts of nodes, completeness of integrated gradients, and what they mean.

Per node the relevance that arrives must be found again,

    Σ R_out = Σ R_in + bias + stabilizer + dropped,

within 1e-4 · Σ|R_out|; `dropped` is what the rule itself loses, a fact to report and no failure.
Over the whole graph the same must hold between the explained value, the relevance of the inputs
and everything booked on the way: a branch forgotten where relevance fans out shows only there.

Gradients conserve nothing, so there are no accounts; of integrated gradients see `completeness`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lrp_onnx.compiler.fitting import by_rules
from lrp_onnx.graph.arrays import Array
from lrp_onnx.run.sensitivity import Sensitivity
from lrp_onnx.validate.completeness import (
    Completeness,
    incomplete,
    nothing_to_explain,
    too_few_steps,
)

__all__ = [
    "BLOWN_UP",
    "CLOSES",
    "Line",
    "Part",
    "Verdict",
    "changed_by_half",
    "out_of_proportion",
    "unsteady_map",
]

CLOSES = 1e-4
"""Part of Σ|R_out| that an account may be off by."""
BLOWN_UP = 100
"""So many times what is explained Σ|R| of the inputs may be: beyond, terms of both signs cancel."""
AGAINST = 0.1
"""Part of what is explained beyond which a sum of relevance of the other sign is told."""
OVER = 5
"""So many times what is explained a sum of relevance of its sign may be: of 34 real models 3.8 was
the most, and a trained LSTM has 6.9 under epsilon, where integrated gradients say something else.
"""
HALF = 0.05
"""Part of max|R| that float16 may change it by."""


@dataclass(frozen=True)
class Line:
    """The account of one node, in the unit of the explained output, summed over the batch."""

    name: str
    op_type: str
    rule: str
    out: float
    magnitude: float
    received: float
    bias: float
    stabilizer: float
    dropped: float
    conserves: bool
    """Whether the rule conserves relevance but for what is booked; else no account can close."""
    inside: float = 0.0
    """By how much the accounts of the nodes in its bodies are off, all added up."""

    @property
    def residual(self) -> float:
        """What of the relevance is not accounted for."""
        return self.out - self.received - self.bias - self.stabilizer - self.dropped

    @property
    def off(self) -> float:
        """By how much the account fails to close, in its bodies or over the whole."""
        return max(abs(self.residual), self.inside)

    @property
    def finite(self) -> bool:
        """Whether every sum is a number."""
        return all(map(math.isfinite, (self.residual, self.magnitude, self.inside)))

    @property
    def closes(self) -> bool:
        """Whether the account holds."""
        within = self.off <= CLOSES * self.magnitude
        return self.finite and (within or not self.conserves)


@dataclass(frozen=True)
class Part:
    """What was found of one explained output."""

    output: str
    explained: float
    """The sum of the starting relevance."""
    relevance: dict[str, float]
    """The sum of the relevance of each explained input."""
    lines: tuple[Line, ...]
    """From the output to the input."""
    completeness: Completeness | None = None
    maps: Mapping[str, Array] = field(default_factory=dict, repr=False)
    """The relevance of each explained input."""

    def problems(self) -> list[str]:
        """What does not hold."""
        return [
            *(_line_problem(x) for x in self.lines if not (x.closes or x in self.rounded_off)),
            *_total_problem(self.explained, self.relevance, self.lines),
            *incomplete(self.completeness),
        ]

    @property
    def rounded_off(self) -> tuple[Line, ...]:
        """Nodes whose account is off by no more than rounding makes of the relevance in front of
        them, which is far larger than what they took.
        """
        most = max((float(np.abs(r).sum()) for r in self.maps.values()), default=0.0)
        lines = list[Line]()
        for line in reversed(self.lines):
            if line.finite and not line.closes and line.off <= CLOSES * most:
                lines.append(line)
            most = max(most, line.magnitude)
        return tuple(reversed(lines))

    def ill_conditioned(self) -> str:
        """Why the result means nothing though everything holds; empty where it does not."""
        return (
            _ill_conditioned(self.maps, self.lines)
            or _rounded_off(self.rounded_off)
            or _sum_is_off(self.explained, self.relevance, self.lines)
            or nothing_to_explain(self.completeness)
            or too_few_steps(self.completeness)
        )


@dataclass(frozen=True)
class Verdict:
    """What `verify` found; `problems` is empty if everything holds."""

    differences: dict[str, tuple[float, float]]
    """Per output of the model: its relative difference from the original, and what is allowed."""
    parts: tuple[Part, ...]
    """One for each explained output."""
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    feeds: dict[str, Array]
    sensitivity: Sensitivity
    """How far roundings decide the relevance."""
    method: str = "lrp"
    simplified: dict[str, float] | None = None
    """Per explained input: max|Δ| / max|R| between the compiled graph and the rules as they stand;
    None where nothing is simplified.
    """
    half: dict[str, float] | None = None
    """Per relevance: max|Δ| / max|R| between products in float16 and in float32; None where these
    were not asked for.
    """
    ill_conditioned: str = ""
    """Why the result means nothing though everything holds; empty where it does not."""
    unrecognized: tuple[str, ...] = ()
    """The nodes that look like a softmax or a norm and are explained part by part, since they were
    not recognized as one: everything holds, and the result may depend on how they are spelled.
    """

    @property
    def explained(self) -> float:
        """The sum of the starting relevance, of all outputs."""
        return sum(part.explained for part in self.parts)

    @property
    def relevance(self) -> dict[str, float]:
        """The sum of the relevance of each explained input."""
        return {name: total for part in self.parts for name, total in part.relevance.items()}

    @property
    def lines(self) -> tuple[Line, ...]:
        """From the output to the input, output by output."""
        return tuple(line for part in self.parts for line in part.lines)

    @property
    def completeness(self) -> Completeness | None:
        """That of the output, of several the one whose steps are furthest off."""
        every = [part.completeness for part in self.parts if part.completeness is not None]
        return max(every, key=lambda each: each.error_of_steps, default=None)

    @property
    def holds_fully(self) -> bool:
        """Whether everything holds and nothing is to be said against the result."""
        return not (self.problems or self.ill_conditioned or self.unrecognized)


def _ill_conditioned(maps: Mapping[str, Array], lines: Sequence[Line]) -> str:
    """A sentence where the inputs get far more relevance, of both signs, than is explained."""
    if not lines or not lines[0].magnitude:
        return ""
    name, most = max(((n, float(np.abs(r).sum())) for n, r in maps.items()), key=lambda p: p[1])
    times = most / lines[0].magnitude
    if not times > BLOWN_UP:
        return ""
    first = next((x for x in lines if x.magnitude > BLOWN_UP * lines[0].magnitude), lines[-1])
    return (
        f"relevance of {name!r} adds up to {most:.4g} in absolute value, {times:.4g} times what is "
        "explained: small sums of large terms were divided by, and terms of both signs cancel, so "
        "that the map means nothing; "
        f"first in front of node {first.name!r} ({first.op_type}). Try a larger stabilizer, such "
        "as --set epsilon='0.25*rms(z)', or another composite."
    )


def _rounded_off(lines: Sequence[Line]) -> str:
    """A sentence where terms that cancel leave a node's account to rounding."""
    if not lines:
        return ""
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return (
        f"what node {lines[0].name!r} ({lines[0].op_type}){more} hands on is so much larger than "
        "what arrives, terms of both signs, that rounding decides its sum. Try a larger "
        "stabilizer, such as --set epsilon='0.25*rms(z)', or another composite."
    )


def out_of_proportion(total: float, explained: float) -> str:
    """What is wrong with a sum of relevance beside what is explained: its sign or its size; empty
    where nothing is.
    """
    if total * explained < 0 and abs(total) > AGAINST * abs(explained):
        return "its sign is against the prediction's"
    times = total / explained if explained else 0.0
    return f"that is {times:.4g} times as much" if times > OVER else ""


def _sum_is_off(explained: float, relevance: Mapping[str, float], lines: Sequence[Line]) -> str:
    """A sentence where that is so of all inputs together, though rules that conserve were taken."""
    total = sum(relevance.values())
    wrong = out_of_proportion(total, explained)
    if not all(line.conserves for line in lines) or not lines or not wrong:
        return ""
    took = {
        "the biases": sum(line.bias for line in lines),
        "the stabilizers": sum(line.stabilizer for line in lines),
        "the rules": sum(line.dropped for line in lines),
    }
    most = max(took, key=lambda name: abs(took[name]))
    return (
        f"relevance sums to {total:.4g} where {explained:.4g} is explained: {wrong}, since {most} "
        f"took {took[most]:.4g}. Try another composite."
    )


def unsteady_map(sensitive: Sensitivity, method: str) -> str:
    """A sentence where roundings decide the relevance."""
    if not sensitive.unsteady:
        return ""
    remedy = (
        "a larger stabilizer, such as --set epsilon='0.25*rms(z)', or another composite"
        if by_rules(method)
        else "another --method"
    )
    return f"rounding {sensitive}, so that the map means nothing. Try {remedy}."


def changed_by_half(half: Mapping[str, float]) -> str:
    """A sentence where float16 decides the relevance."""
    name, most = max(half.items(), key=lambda pair: pair[1], default=("", 0.0))
    if most <= HALF:
        return ""
    return (
        f"float16 changes {name!r} by {most:.2g} of its largest value, {HALF:g} is allowed. "
        "Compile with --precision float32, or take another composite."
    )


def _line_problem(line: Line) -> str:
    where = f"node {line.name!r} ({line.op_type}), rule {line.rule!r}"
    if not line.finite:
        return f"{where}: its relevance is not finite"
    part = line.off / line.magnitude if line.magnitude else math.inf
    within = "" if abs(line.residual) >= line.inside else " in its bodies"
    off = line.inside if within else line.residual
    return f"{where}: its account is off by {off:.3g}{within}, {part:.1e} of Σ|R|"


def _total_problem(
    explained: float, relevance: Mapping[str, float], lines: Sequence[Line]
) -> list[str]:
    """The account of the whole graph, which may be off by what its nodes may be off by."""
    if not lines or not all(line.conserves and line.closes for line in lines):
        return []
    booked = sum(line.bias + line.stabilizer + line.dropped for line in lines)
    residual = explained - sum(relevance.values()) - booked
    if abs(residual) <= CLOSES * sum(line.magnitude for line in lines):
        return []
    return [
        f"relevance is lost between nodes: {residual:.3g} of {explained:.3g} is not found again"
    ]
