"""A TOML file becomes a `Rule`, checked key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from lrp_onnx.errors import LrpError, RuleError
from lrp_onnx.graph.expression import Expression, parse
from lrp_onnx.lrp.library import check_keys, library, read_toml, typed
from lrp_onnx.lrp.rule import INPUT_ENDS, Parameter, Rule, Share, Term

__all__ = ["load_rule"]

RULE_KEYS = {"summary", "formula", "reference", "parameters", "share", "relevance", "operator"}
SHARE_KEYS = {"where", "factor", "terms"}
TERM_KEYS = {"x", "w", "b", "factor"}
PARAMETER_KEYS = {
    *("default", "minimum", "maximum", "per_channel", "at_most", "implied", "by_rule_only"),
}


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
