"""Rules are data: a TOML file becomes a `Rule`, checked key by key.

A rule takes one of two forms.  Over a layer that is linear in its input it is a sum of shares,

    R_in = Σ_share factor · Σ_term x' · vjp([where] · R / stabilize(Σ_term f(x'; w', b')), w'),

where f is the layer itself with modified input x', weight w' and bias b' (Montavon et al. 2019, eq.
10.4). Over any other node it is one expression, `relevance`, of R, the input x, the output y,
`vjp`, the node's vector-Jacobian product with R, and `total`, the sum of R over its own axes.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from lrp_onnx.errors import LrpError, RuleError
from lrp_onnx.graph.expression import Expression, names, parse

__all__ = [
    "INPUT_ENDS",
    "Parameter",
    "Rule",
    "Setting",
    "Share",
    "Term",
    "check_keys",
    "choices_of",
    "library",
    "load_rule",
    "read_toml",
    "typed",
]

Setting = float | tuple[float, ...] | str
"""A parameter's value: one number, one per channel, or an expression of z such as `0.25*rms(z)`."""

RULE_KEYS = {"summary", "formula", "reference", "parameters", "share", "relevance", "operator"}
SHARE_KEYS = {"where", "factor", "terms"}
TERM_KEYS = {"x", "w", "b", "factor"}
PARAMETER_KEYS = {
    *("default", "minimum", "maximum", "per_channel", "at_most", "implied", "by_rule_only"),
}
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


def library() -> Traversable:
    """The folder of rule files; its subfolder `composites` holds the composites."""
    try:
        return resources.files("lrp_onnx.rules")
    except ModuleNotFoundError:  # a bare checkout: rules/ lies beside the package
        return resources.files("lrp_onnx").joinpath("..", "rules")


def read_toml(name: str, folder: Traversable, kind: str) -> tuple[str, dict[str, Any]]:
    """Read the file `name` (a path) or `folder/name.toml`; return the place for messages and the
    table.
    """
    if name.endswith(".toml"):
        source: Traversable = Path(name)
    else:
        source = folder.joinpath(f"{name}.toml")
        if "/" in name or "\\" in name or not source.is_file():
            raise RuleError(f"there is no {kind} {name!r}. {choices_of(folder, kind)}")
    try:
        return name, tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as e:
        raise RuleError(
            f"{kind} file {name!r} cannot be read: {e.strerror}. Check the path."
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise RuleError(f"{kind} file {name!r} is not valid TOML: {e}.") from e


def choices_of(folder: Traversable, kind: str) -> str:
    """The names in a folder of rules or composites in words, but for what is only a base."""
    files = [f for f in folder.iterdir() if f.name.endswith(".toml")]
    tables = {f.name.removesuffix(".toml"): tomllib.loads(f.read_text("utf-8")) for f in files}
    known = sorted(name for name, table in tables.items() if not table.get("base_only"))
    return f"Known: {', '.join(known)}; or give the path of a {kind} file ending in .toml."


def load_rule(name: str) -> Rule:
    """The rule of that name in the library, or of that file if the name ends in .toml.

    Raises RuleError naming file, key and remedy for an unknown key, a wrong type, a range or a
    missing reference.
    """
    return _read(name) if name.endswith(".toml") else _of_library(name)


def _read(name: str) -> Rule:
    place, table = read_toml(name, library(), "rule")
    try:
        return _rule(Path(name).name.removesuffix(".toml"), table)
    except LrpError as e:
        raise RuleError(f"rule file {place!r}: {e}") from e


_of_library = cache(_read)  # a file of the user's may change, one of the library does not


def _rule(name: str, table: dict[str, Any]) -> Rule:
    check_keys(table, RULE_KEYS, "the rule")
    parameters = {k: _parameter(k, v) for k, v in typed(table, "parameters", dict, {}).items()}
    known = frozenset(parameters)
    shares = tuple(_share(s, known) for s in typed(table, "share", list, []))
    if bool(shares) == ("relevance" in table):
        raise RuleError(
            "a rule is either a list of [[share]] or one key 'relevance'. Give exactly one of them."
        )
    relevance = None
    if not shares:
        relevance = parse(typed(table, "relevance", str), known | {"R", "x", "y", "vjp", "total"})
    return Rule(
        name=name,
        summary=typed(table, "summary", str),
        reference=typed(table, "reference", str),
        formula=typed(table, "formula", str, ""),
        parameters=parameters,
        shares=shares,
        relevance=relevance,
        operator=typed(table, "operator", str, None),
    )


def _parameter(name: str, value: object) -> Parameter:
    if isinstance(value, dict):
        check_keys(value, PARAMETER_KEYS, f"parameter {name!r}")
        default = value.get("default")
        limits = {k: typed(value, k, float, None) for k in ("minimum", "maximum")}
        parameter = Parameter(
            None,
            **limits,
            per_channel=typed(value, "per_channel", bool, False),
            at_most=typed(value, "at_most", str, None),
            implied=_implied(value),
            by_rule_only=typed(value, "by_rule_only", bool, False),
        )
    else:
        default, parameter = value, Parameter()
    if default is not None:
        default = parameter.check(default, f"parameter {name!r}")
    return replace(parameter, default=default)


def _implied(table: Mapping[str, Any]) -> str | None:
    end: str | None = typed(table, "implied", str, None)
    if end is not None and end not in INPUT_ENDS:
        raise RuleError(f"key 'implied' is {end!r}. Give one of {', '.join(INPUT_ENDS)}.")
    return end


def _share(table: object, known: frozenset[str]) -> Share:
    if not isinstance(table, dict):
        raise RuleError("'share' holds something else than tables. Write [[share]].")
    check_keys(table, SHARE_KEYS, "a share")
    where = typed(table, "where", str, None)
    terms = tuple(_term(t, known) for t in typed(table, "terms", list))
    if not terms:
        raise RuleError('a share has no terms. Give at least one, such as terms = [{ x = "x" }].')
    return Share(
        terms=terms,
        where=None if where is None else parse(where, known | {"z"}),
        factor=_factor(table, known),
    )


def _term(table: object, known: frozenset[str]) -> Term:
    if not isinstance(table, dict):
        raise RuleError(
            '\'terms\' holds something else than tables. Write terms = [{ x = "x", w = "w" }].'
        )
    check_keys(table, TERM_KEYS, "a term")
    return Term(
        x=parse(typed(table, "x", str), known | {"x"}),
        w=parse(typed(table, "w", str, "w"), known | {"w"}),
        b=parse(typed(table, "b", str, "0"), known | {"b"}),
        factor=_factor(table, known),
    )


def _factor(table: dict[str, Any], known: frozenset[str]) -> Expression:
    return parse(typed(table, "factor", str, "1"), known)


REQUIRED = object()


def typed(table: Mapping[str, Any], key: str, kind: type, default: Any = REQUIRED) -> Any:
    """`table[key]` if it has that type (an integer counts as float); RuleError names the key
    otherwise.
    """
    if key not in table:
        if default is REQUIRED:
            raise RuleError(f"key {key!r} is missing. Add it ({_TYPE_NAMES[kind]}).")
        return default
    value = table[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is str and not str(value).strip()):
        raise RuleError(f"key {key!r} is {value!r}. Give {_TYPE_NAMES[kind]}.")
    return value


_TYPE_NAMES = {
    str: "a string",
    list: "a list",
    dict: "a table",
    float: "a number",
    bool: "true or false",
}


def check_keys(table: Mapping[str, Any], known: set[str], what: str) -> None:
    """RuleError for the first key of `table` that `what` does not know."""
    for key in table:
        if key not in known:
            raise RuleError(
                f"{what} has an unknown key {key!r}. Known keys: {', '.join(sorted(known))}."
            )
