"""The rules and composites of the library, as `lrp-onnx rules` lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from typing import Any

from rich.table import Table

from lrp_onnx.cli.tables import facts, table_of
from lrp_onnx.errors import CompositeError, RuleError
from lrp_onnx.lrp.composite import Composite, load_composite
from lrp_onnx.lrp.library import library, read_toml
from lrp_onnx.lrp.rule import Rule
from lrp_onnx.lrp.rule_file import load_rule

__all__ = [
    "composite_overview",
    "composites",
    "composites_json",
    "describe",
    "find",
    "find_composite",
    "overview",
    "rules",
    "to_json",
]

Entry = Rule | Composite


def rules() -> list[Rule]:
    """Every rule of the library, by name."""
    return [load_rule(name) for name in _names(library())]


def composites(base_only: bool = False) -> list[Composite]:
    """Every composite of the library that can be chosen, or only extended, by name."""
    every = map(load_composite, _names(library().joinpath("composites")))
    return [composite for composite in every if composite.base_only == base_only]


def _names(folder: Traversable) -> list[str]:
    names = [file.name for file in folder.iterdir()]
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def find(name: str) -> list[Entry]:
    """The rule and the composite of that name, or what that .toml file holds.

    Raises RuleError or CompositeError where there is none, or the file is wrong.
    """
    if name.endswith(".toml"):
        _, table = read_toml(name, library(), "rule or composite")
        return [load_composite(name) if "layer" in table else load_rule(name)]
    known: list[Entry] = [*rules(), *composites()]
    same = [entry for entry in (*known, *composites(base_only=True)) if entry.name == name]
    if not same:
        names = ", ".join(sorted({entry.name for entry in known}))
        remedy = f"Known: {names}; or give the path of a .toml file"
        raise RuleError(f"there is no rule or composite {name!r}. {remedy}.")
    return same


def find_composite(name: str) -> list[Composite]:
    """The composite of that name or file. Raises CompositeError or RuleError."""
    entries = [entry for entry in find(name) if isinstance(entry, Composite)]
    if not entries:
        raise CompositeError(
            f"{name!r} is a rule and no composite. lrp-onnx rules {name} shows it."
        )
    return entries


def composite_overview() -> tuple[Table | str, ...]:
    """A table of the composites."""
    rows = [(c.name, c.summary) for c in composites()]
    return (
        table_of(["name", "which rule where"], rows),
        "`--composite auto`, the default, chooses one by what the network is made of.",
        "`lrp-onnx composites NAME` shows the layers of one.",
    )


def composites_json(entries: Iterable[Composite]) -> dict[str, Any]:
    """Composites for machines."""
    return {"composites": [*map(_json, entries)]}


def overview() -> tuple[Table | str, ...]:
    """A table of the rules and one of the composites."""
    return (
        "Rules",
        table_of(["name", "what it does"], [(r.name, r.summary) for r in rules()]),
        "Composites",
        table_of(["name", "which rule where"], [(c.name, c.summary) for c in composites()]),
        "`--composite auto`, the default, chooses one by what the network is made of.",
        "`lrp-onnx rules NAME` shows formula, parameters and reference, or a composite's layers; "
        "`lrp-onnx rules base` what most composites share.",
    )


def describe(entry: Entry) -> tuple[Table | str, ...]:
    """A rule with its formula, or a composite with its layers."""
    if isinstance(entry, Rule):
        about = [
            ("rule", entry.name),
            ("summary", entry.summary),
            ("formula", entry.formula),
            ("parameters", _parameters(entry, {}) or "none"),
            ("reference", entry.reference),
        ]
        return (facts((name, value) for name, value in about if value),)
    about = [
        ("composite", entry.name),
        ("summary", entry.summary),
        ("reference", entry.reference),
    ]
    rows = [
        (x.describe(), x.rule.name, _parameters(x.rule, x.parameters), "" if x.own else "base")
        for x in entry.selectors
    ]
    headings = ["layer (the first that matches)", "rule", "parameters", "from"]
    return facts(about), table_of(headings, rows)


def to_json(name: str | None) -> dict[str, Any]:
    """The same for machines: the rule and the composite of that name, or all."""
    if name is None:
        return {"rules": [*map(_json, rules())], "composites": [*map(_json, composites())]}
    return {"rule" if isinstance(e, Rule) else "composite": _json(e) for e in find(name)}


def _json(entry: Entry) -> dict[str, Any]:
    shared = {"name": entry.name, "summary": entry.summary, "reference": entry.reference}
    if isinstance(entry, Rule):
        keys = ("default", "minimum", "maximum", "per_channel")
        parameters = {
            name: {key: getattr(parameter, key) for key in keys}
            for name, parameter in entry.parameters.items()
        }
        return {**shared, "formula": entry.formula, "parameters": parameters}
    layers = [
        {"layer": x.describe(), "rule": x.rule.name, "parameters": dict(x.parameters)}
        for x in entry.selectors
    ]
    return {**shared, "layers": layers}


def _parameters(rule: Rule, chosen: Mapping[str, Any]) -> str:
    """The parameters of a rule with the values chosen, else their defaults."""
    values = {name: p.default for name, p in rule.parameters.items()} | dict(chosen)
    return ", ".join(f"{name}={_value(value)}" for name, value in values.items())


def _value(value: object) -> str:
    if value is None:
        return "(to be given)"
    return f"{value:g}" if isinstance(value, float) else str(value)
