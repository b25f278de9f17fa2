"""The rules and composites of the library, as `lrp-onnx rules` lists them."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from lrp_onnx.cli.tables import facts, table_of
from lrp_onnx.errors import RuleError
from lrp_onnx.lrp.composite import Composite, Layer, load_composite
from lrp_onnx.lrp.rule import Parameter, Rule, library, load_rule, read_toml

__all__ = ["composites", "describe", "find", "kind_of", "overview", "rules", "to_json"]

Entry = Rule | Composite


def rules() -> list[Rule]:
    """Every rule of the library, by name."""
    return [load_rule(name) for name in _names("")]


def composites() -> list[Composite]:
    """Every composite of the library that can be chosen, by name."""
    return [c for c in map(load_composite, _names("composites")) if not c.base_only]


def _names(folder: str) -> list[str]:
    files = library().joinpath(folder) if folder else library()
    return sorted(f.name.removesuffix(".toml") for f in files.iterdir() if f.name[-5:] == ".toml")


def find(name: str) -> list[Entry]:
    """The rule and the composite of that name, or what that .toml file holds.

    Raises RuleError or CompositeError where there is none, or the file is wrong.
    """
    if name.endswith(".toml"):
        _, table = read_toml(name, library(), "rule or composite")
        return [load_composite(name) if "layer" in table else load_rule(name)]
    every: list[Entry] = [*rules(), *composites()]
    bases = [c for c in map(load_composite, _names("composites")) if c.base_only]
    found = [entry for entry in (*every, *bases) if entry.name == name]
    if not found:
        known = ", ".join(sorted({entry.name for entry in every}))
        remedy = f"Known: {known}; or give the path of a .toml file"
        raise RuleError(f"there is no rule or composite {name!r}. {remedy}.")
    return found


def overview() -> tuple[Table | str, ...]:
    """A table of the rules and one of the composites."""
    rule_rows = [(r.name, r.summary) for r in rules()]
    composite_rows = [(c.name, c.summary) for c in composites()]
    return (
        "Rules",
        table_of(["name", "what it does"], rule_rows),
        "Composites",
        table_of(["name", "which rule where"], composite_rows),
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
            ("parameters", _parameters(entry) or "none"),
            ("reference", entry.reference),
        ]
        return (facts((name, value) for name, value in about if value),)
    rows = [(_where(x), x.rule.name, _given(x), "" if x.own else "base") for x in entry.layers]
    return (
        facts(
            [
                ("composite", entry.name),
                ("summary", entry.summary),
                ("reference", entry.reference),
            ]
        ),
        table_of(["layer (the first that matches)", "rule", "parameters", "from"], rows),
    )


def kind_of(entry: Entry) -> str:
    """`rule` or `composite`."""
    return "rule" if isinstance(entry, Rule) else "composite"


def to_json(entry: Entry) -> dict[str, Any]:
    """The same for machines."""
    shared = {"name": entry.name, "summary": entry.summary, "reference": entry.reference}
    if isinstance(entry, Rule):
        parameters = {name: _limits(p) for name, p in entry.parameters.items()}
        return {**shared, "formula": entry.formula, "parameters": parameters}
    layers = [
        {"layer": _where(x), "rule": x.rule.name, "parameters": dict(x.parameters)}
        for x in entry.layers
    ]
    return {**shared, "layers": layers}


def _limits(p: Parameter) -> dict[str, Any]:
    return {
        "default": p.default,
        "minimum": p.minimum,
        "maximum": p.maximum,
        "per_channel": p.per_channel,
    }


def _where(layer: Layer) -> str:
    return layer.describe()


def _given(layer: Layer) -> str:
    shown = {name: p.default for name, p in layer.rule.parameters.items()} | dict(layer.parameters)
    return ", ".join(f"{k}={_value(v)}" for k, v in shown.items())


def _parameters(rule: Rule) -> str:
    return ", ".join(f"{name}={_value(p.default)}" for name, p in rule.parameters.items())


def _value(value: object) -> str:
    if value is None:
        return "(to be given)"
    return f"{value:g}" if isinstance(value, float) else str(value)
