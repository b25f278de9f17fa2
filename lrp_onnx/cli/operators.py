"""The operators and how each is supported, as `lrp-onnx ops` lists them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import onnx
from rich.table import Table

from lrp_onnx.analysis.operator_support import (
    STANDARD,
    OperatorSupport,
    every_operator,
    versions_of,
)
from lrp_onnx.cli.tables import facts, table_of
from lrp_onnx.errors import RuleError
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.ops import KINDS

__all__ = ["describe", "find", "groups", "lines", "overview", "summary", "to_json", "totals"]

SUPPORT = {"propagates": "propagates", "none": "carries none", "refused": "refused"}
COUNTED = {"propagates": "propagate", "none": "carry none", "refused": "refused"}
EXPANDED = "expanded"
MORE = "`lrp-onnx ops NAME` shows kind, rule, versions and formula of one."
MEANING = {
    "linear": "a layer with a weight",
    "sum": "sums and averages",
    "activation": "elementwise functions",
    "scale": "multiples by constants",
    "product": "products of activations",
    "quotient": "quotients of activations",
    "move": "data moved, copied or selected",
    "maximum": "the winner takes all",
    EXPANDED: "written out in operators that have a rule",
}
"""Kind → what it is, in a table's heading column."""


def groups() -> list[tuple[str, list[OperatorSupport]]]:
    """What propagates, under each kind that its uses can be of; what is written out comes last."""
    propagating = _with_support("propagates")
    kinds = [*KINDS, EXPANDED]
    listed = [(k, [s for s in propagating if k in (s.kinds or (EXPANDED,))]) for k in kinds]
    return [(kind, operators) for kind, operators in listed if operators]


def _with_support(support: str) -> list[OperatorSupport]:
    return [s for s in every_operator() if s.support == support]


def overview() -> tuple[Table | str, ...]:
    """A table of what propagates by kind, one of what is refused, what carries none, the totals."""
    propagating = [(k, MEANING.get(k, ""), _names(operators)) for k, operators in groups()]
    return (
        "Propagate relevance",
        table_of(["kind", "which is", "operators"], propagating),
        "Carry none",
        table_of(["operators"], [(_names(_with_support("none")),)]),
        "Refused where relevance would have to go through them",
        table_of(["operators", "why"], _by_reason(_with_support("refused"))),
        summary(),
        MORE,
    )


def lines() -> tuple[Table | str, ...]:
    """One operator a line, for a pipe: name, support, and its kinds or why it is refused."""
    rows = Table.grid("", "", "", padding=(0, 2, 0, 0))
    for s in every_operator():
        rows.add_row(s.name, SUPPORT[s.support], _in_short(s))
    return rows, "", summary(), MORE


def _in_short(operator: OperatorSupport) -> str:
    """The remedy, behind the first sentence of a reason, is for `ops NAME`."""
    if operator.support == "refused":
        return operator.reason.partition(". ")[0]
    return ", ".join(operator.kinds) or operator.how


def _names(operators: Iterable[OperatorSupport]) -> str:
    return ", ".join(s.name for s in operators)


def _by_reason(refused: Sequence[OperatorSupport]) -> list[tuple[str, str]]:
    reasons = dict.fromkeys(s.reason for s in refused)
    return [(_names(s for s in refused if s.reason == reason), reason) for reason in reasons]


def totals() -> dict[str, Counter[str]]:
    """How many operators have each support: those of the standard, then per other domain."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for s in every_operator():
        counts["standard" if s.domain in STANDARD else s.domain][s.support] += 1
    return counts


def summary() -> str:
    """`214 standard operators (opset 28): 160 propagate, …; com.microsoft: …`."""
    opset = onnx.defs.onnx_opset_version()
    parts = []
    for domain, counts in totals().items():
        shown = [f"{counts[k]} {words}" for k, words in COUNTED.items() if counts[k]]
        many = f"{counts.total()} standard operators (opset {opset})"
        parts.append(f"{many if domain == 'standard' else domain}: {', '.join(shown)}")
    return "; ".join(parts)


def find(name: str | None) -> list[OperatorSupport]:
    """The operators of that name, with or without a domain, in any case; None: all.

    Raises RuleError where no table has it.
    """
    if name is None:
        return list(every_operator())
    wanted = name.lower()
    same = [s for s in every_operator() if wanted in (s.name.lower(), s.op_type.lower())]
    if not same:
        raise RuleError(
            f"operator {name!r} is unknown: a model is refused where relevance would have to go "
            "through it. `lrp-onnx ops` lists those that are known."
        )
    return same


def describe(operator: OperatorSupport) -> Table:
    """All that is known of one operator."""
    about = [
        ("operator", operator.name),
        ("support", SUPPORT[operator.support]),
        ("how", operator.how),
        ("why", operator.reason),
        ("kind", ", ".join(operator.kinds)),
        ("rule", "; ".join(_rules(operator.kinds))),
        ("versions", ", ".join(map(str, versions_of(operator.domain, operator.op_type)))),
        ("about", " ".join(operator.about.split())),
    ]
    return facts((name, value) for name, value in about if value)


def _rules(kinds: Sequence[str]) -> list[str]:
    """What the base of the composites does with each kind; of linear layers they decide."""
    selectors = load_composite("base").selectors
    rules = {kind: next((x.rule.name for x in selectors if kind in x.kinds), "") for kind in kinds}
    return [f"{kind}: {rule or 'as the composite says'}" for kind, rule in rules.items()]


def to_json(operators: Iterable[OperatorSupport]) -> dict[str, Any]:
    """The same for machines."""
    rows = [
        {
            "name": s.name,
            "domain": s.domain,
            "support": s.support,
            "kinds": list(s.kinds),
            "how": s.how,
            "reason": s.reason,
            "versions": list(versions_of(s.domain, s.op_type)),
            "about": s.about,
        }
        for s in operators
    ]
    return {"operators": rows, "totals": {k: dict(v) for k, v in totals().items()}}
