"""Does the compiled graph keep its promises?  Forward, finiteness, and an account of every node.

Per node the relevance that arrives must be found again,

    Σ R_out = Σ R_in + bias + stabilizer + dropped,

within 1e-4 · Σ|R_out|; `dropped` is what the rule itself loses, a fact to report and no failure.
Over the whole graph the same must hold between the explained value, the relevance of the inputs
and everything booked on the way: a branch forgotten where relevance fans out shows only there.

All of that may hold and the result mean little: where it is ill-conditioned, where the sum of
relevance has the other sign than what is explained, and where something looks like a softmax or a
norm and was not recognized as one.

Gradients conserve nothing, so there are no accounts; integrated gradients sum to f(x) - f(x₀) to
within INCOMPLETE, and what the steps alone give, the better the more there are, to within ROUGH.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrp_onnx.compiler.accounts import NodeAccount
from lrp_onnx.compiler.check import check_graph, judged_on_random, weight_warnings
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.differences import (
    extra_feeds,
    forward_differences,
    own_differences,
    relative_difference,
)
from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.judge import judge
from lrp_onnx.compiler.stages import Loaded, compile_prepared, load_original, prepare
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import (
    COMPLETENESS,
    EXPLAINED,
    METHOD,
    PLAIN,
    PREFIX,
    RELEVANCE,
    STEPS,
)
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.graph.model_file import Source
from lrp_onnx.graph.session import Array, runtime_form
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.feeds import fitted

__all__ = [
    "BLOWN_UP",
    "CLOSES",
    "INCOMPLETE",
    "ROUGH",
    "Completeness",
    "Line",
    "Verdict",
    "completeness_of",
    "is_against",
    "verify",
]

CHANGED = 0.05
"""Part of max|R| by which the simplified graph may differ.  A layer differs by less than 1e-5, but
uniform epsilon multiplies roundings in deep networks: up to 2e-2 between float32 and float64.
"""
CLOSES = 1e-4
"""Part of Σ|R_out| that an account may be off by."""
INCOMPLETE = 1e-3
"""Part of f(x) - f(x₀) that integrated gradients may be off by."""
BLOWN_UP = 100
"""So many times what is explained Σ|R| of the inputs may be: beyond, roundings decide the map."""
UNSTEADY = 1e-3
"""Part of its largest value that optimizing the original may change an output by."""
ROUGH = 0.05
"""Part of it that the gradients at the steps may be off by before they are made complete."""


AGAINST = 0.1
"""Part of what is explained beyond which a sum of relevance of the other sign is told."""
ROUNDED = 32
"""So many times the last digit of f its value may be off."""


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
class Completeness:
    """Integrated gradients against what they decompose, summed over the batch."""

    total: float
    """The sum of relevance over all explained inputs."""
    explained: float
    """f(x) - f(x₀)."""
    of_steps: float
    """What the gradients at the steps sum to before they are made complete."""
    steps: int
    rounding: float = 0.0
    """How far f(x) - f(x₀) may be off since both are rounded."""

    @property
    def is_rounding(self) -> bool:
        """Whether f(x) - f(x₀) is no more than that, so that there is nothing to decompose."""
        return self.rounding > 0 and abs(self.explained) <= self.rounding

    @property
    def error(self) -> float:
        """The relative error."""
        return self._off(self.total)

    @property
    def error_of_steps(self) -> float:
        """That of the steps alone."""
        return self._off(self.of_steps)

    def _off(self, total: float) -> float:
        difference = abs(total - self.explained)
        if difference <= self.rounding:
            return 0.0
        return difference / abs(self.explained) if self.explained else math.inf


@dataclass(frozen=True)
class Verdict:
    """What `verify` found; `problems` is empty if everything holds."""

    differences: dict[str, tuple[float, float]]
    """Per output of the model: its relative difference from the original, and what is allowed."""
    explained: float
    """The sum of the starting relevance."""
    relevance: dict[str, float]
    """The sum of the relevance of each explained input."""
    lines: tuple[Line, ...]
    """From the output to the input."""
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    feeds: dict[str, Array]
    method: str = "lrp"
    completeness: Completeness | None = None
    simplified: dict[str, float] | None = None
    """Per explained input: max|Δ| / max|R| between the compiled graph and the rules as they stand;
    None where nothing is simplified.
    """
    ill_conditioned: str = ""
    """Why the result means nothing though everything holds; empty where it does not."""
    unrecognized: tuple[str, ...] = ()
    """The nodes that look like a softmax or a norm and are explained part by part, since they were
    not recognized as one: everything holds, and the result may depend on how they are spelled.
    """

    @property
    def holds_fully(self) -> bool:
        """Whether everything holds and nothing is to be said against the result."""
        return not (self.problems or self.ill_conditioned or self.unrecognized)


def verify(
    source: Source | Loaded,
    options: CompileOptions,
    feeds: Mapping[str, Array] | None = None,
    ranges: Ranges | None = None,
    seed: int = 0,
) -> Verdict:
    """Compile the model with an account of every node, run it, and judge.

    feeds: input by name; without it random input is made up. ranges: of inputs, as `prepare` has
    them. Raises LrpError as `compile` does, and
    InputError where the input does not fit or none can be made up.
    """
    options = replace(options, check=False)
    loaded = source if isinstance(source, Loaded) else load_original(source)
    prepared = prepare(loaded, options, ranges)
    compiled = compile_prepared(prepared, accounts=True)
    check_graph(compiled.graph)
    inputs, expected = _forward(loaded.source, compiled, feeds, seed)
    differences = forward_differences(loaded.source, compiled.graph, inputs, expected)
    with runtime_form(compiled.graph) as form:
        extra = extra_feeds(compiled.graph, inputs, expected)
        outputs = judge(form, plain=False).run({**extra, **inputs})
    lines = tuple(_line(account, outputs) for account in compiled.accounts)
    results = {name: y for name, y in outputs.items() if not name.startswith(PREFIX)}
    maps, as_rules = _maps(compiled, outputs), _maps(compiled, outputs, PLAIN)
    relevance = _sums(maps)
    explained = lines[0].out if lines else sum(relevance.values())
    metadata = compiled.graph.metadata_props
    completeness = completeness_of(outputs, relevance, int(metadata.get(STEPS, 0)))
    simplified = {n: relative_difference(maps[n], r)[0] for n, r in as_rules.items()} or None
    problems = [
        *_forward_problems(differences),
        *(f"{name!r} is not finite" for name, y in results.items() if not _finite(y)),
        *(_line_problem(line) for line in lines if not line.closes),
        *_total_problem(explained, relevance, lines),
        *_incomplete(completeness),
        *_changed(simplified),
    ]
    unsteady = _unsteady(own_differences(loaded.source, inputs, expected))
    warnings = (*compiled.warnings, *weight_warnings(compiled.graph), *unsteady)
    return Verdict(
        differences,
        explained if completeness is None else completeness.explained,
        relevance,
        lines,
        warnings,
        tuple(problems),
        dict(inputs),
        metadata[METHOD],
        completeness,
        simplified,
        _ill_conditioned(maps, lines)
        or _against(explained, relevance, lines)
        or _nothing_to_explain(completeness),
        prepared.assignment.unrecognized,
    )


def _forward(
    source: Source, compiled: Compiled, feeds: Mapping[str, Array] | None, seed: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The input, checked or made up, and the original's outputs on it."""
    if feeds is None:
        judged = judged_on_random(source, compiled.graph, seed)
        if isinstance(judged, str):
            raise InputError(f"{judged}. Give an input: lrp-onnx verify MODEL NAME=FILE.npy.")
        return judged
    inputs = wanted_by(compiled.graph)
    fitted_feeds = fitted(inputs, feeds)
    with runtime_form(source) as form:
        return fitted_feeds, judge(form).run(fitted_feeds)


def _line(account: NodeAccount, outputs: Mapping[str, Array]) -> Line:
    sums = account.sums(outputs)
    return Line(
        name=account.name,
        op_type=account.op_type,
        rule=account.rule,
        received=sums.pop("in"),
        conserves=account.conserves,
        **sums,
    )


def _maps(compiled: Compiled, outputs: Mapping[str, Array], prefix: str = "") -> dict[str, Array]:
    """The relevance of each explained input; with PLAIN by the rules as they stand, where the
    graph is another.
    """
    names = json.loads(compiled.graph.metadata_props[EXPLAINED])
    results = {n: f"{prefix}{n}{RELEVANCE}" for n in names}
    return {n: outputs[result] for n, result in results.items() if result in outputs}


def _sums(maps: Mapping[str, Array]) -> dict[str, float]:
    return {n: float(np.sum(r, dtype=np.float64)) for n, r in maps.items()}


def _changed(simplified: Mapping[str, float] | None) -> list[str]:
    return [
        f"relevance of {name!r}: the compiled graph differs from the rules as they stand by "
        f"{difference:.2g} of its largest value, {CHANGED:g} is allowed: compile with --no-optimize"
        for name, difference in (simplified or {}).items()
        if not difference <= CHANGED
    ]


def completeness_of(
    outputs: Mapping[str, Array], relevance: Mapping[str, float], steps: int
) -> Completeness | None:
    """The account of integrated gradients; None where the model has no such output."""
    if COMPLETENESS not in outputs:
        return None
    account = np.asarray(outputs[COMPLETENESS])
    here, there, reached = map(float, account)
    rounding = ROUNDED * float(np.finfo(account.dtype).eps) * max(abs(here), abs(there))
    return Completeness(sum(relevance.values()), here - there, reached, steps, rounding)


def _incomplete(account: Completeness | None) -> list[str]:
    if account is None:
        return []
    problems, explained = [], f"f(x) - f(baseline) is {account.explained:.6g}"
    if account.error > INCOMPLETE:
        problems.append(
            f"completeness: relevance sums to {account.total:.6g}, {explained}, off by "
            f"{account.error:.2%}"
        )
    if account.error_of_steps > ROUGH:
        problems.append(
            f"completeness: the gradients at {account.steps} steps give {account.of_steps:.6g}, "
            f"{explained}, off by {account.error_of_steps:.2%}: give more than "
            f"{account.steps} --steps"
        )
    return problems


def _finite(y: Any) -> bool:
    y = np.asarray(numbers_of(y))
    return y.dtype.kind in "OSU" or bool(np.isfinite(y.astype(np.float64)).all())


def _forward_problems(differences: Mapping[str, tuple[float, float]]) -> list[str]:
    return [
        f"output {name!r} differs from the original by {difference:.2g}, {allowed:.0e} is allowed"
        for name, (difference, allowed) in differences.items()
        if not difference <= allowed
    ]


def _unsteady(own: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each output that the runtime's settings decide in part."""
    for name, difference in own.items():
        if difference > UNSTEADY:
            yield (
                f"output {name!r}: the original model itself gives results that differ by "
                f"{difference:.2g} of its largest value, by whether ONNX Runtime optimizes it. "
                "Roundings decide as much of its relevance."
            )


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
        "explained: small sums of large terms were divided by, and roundings decide the map; "
        f"first in front of node {first.name!r} ({first.op_type}). Try a larger stabilizer, such "
        "as --set epsilon='0.25*rms(z)', or another composite."
    )


def is_against(total: float, explained: float) -> bool:
    """Whether a sum of relevance has the other sign than what is explained."""
    return total * explained < 0 and abs(total) > AGAINST * abs(explained)


def _against(explained: float, relevance: Mapping[str, float], lines: Sequence[Line]) -> str:
    """A sentence where that is so of all inputs together, though rules that conserve were taken."""
    total = sum(relevance.values())
    if not all(line.conserves for line in lines) or not lines or not is_against(total, explained):
        return ""
    took = {
        "the biases": sum(line.bias for line in lines),
        "the stabilizers": sum(line.stabilizer for line in lines),
        "the rules": sum(line.dropped for line in lines),
    }
    most = max(took, key=lambda name: abs(took[name]))
    return (
        f"relevance sums to {total:.4g} where {explained:.4g} is explained: its sign is against "
        f"the prediction's, since {most} took {took[most]:.4g}. Try another composite."
    )


def _nothing_to_explain(account: Completeness | None) -> str:
    """A sentence where integrated gradients decompose a rounding."""
    if account is None or not account.is_rounding:
        return ""
    return (
        f"f(x) - f(baseline) is {account.explained:.3g}, no more than f is rounded by: the output "
        "does not change on the way from the baseline, and the integrated gradients are rounding. "
        "Give another --baseline, or another method."
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
    if not all(line.conserves and line.closes for line in lines):
        return []
    booked = sum(line.bias + line.stabilizer + line.dropped for line in lines)
    residual = explained - sum(relevance.values()) - booked
    if abs(residual) <= CLOSES * sum(line.magnitude for line in lines):
        return []
    return [
        f"relevance is lost between nodes: {residual:.3g} of {explained:.3g} is not found again"
    ]
