"""A composite is an ordered list of selectors, each with a rule: the first that matches a node
gives its rule.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import onnx

from lrp_onnx.analysis.depth import is_linear_layer
from lrp_onnx.analysis.rectifier import is_rectifier
from lrp_onnx.analysis.step import Step
from lrp_onnx.errors import CompositeError, LrpError, RuleError
from lrp_onnx.lrp.library import check_keys, choices_of, library, read_toml, typed
from lrp_onnx.lrp.rule import Rule, Setting
from lrp_onnx.lrp.rule_file import load_rule
from lrp_onnx.ops.registry import KINDS, REGISTRY

__all__ = ["RECTIFIER", "Composite", "Override", "Selector", "chosen_composite", "load_composite"]

COMPOSITE_KEYS = {
    "summary",
    "reference",
    "base",
    "base_only",
    "gates",
    "attention",
    "activations",
    "layer",
}
SELECTOR_KEYS = {"op", "kind", "name", "first", "last", "index", "depth", "rule", "parameters"}
RECTIFIER = "rectifier"
"""As a kind: every ReLU, bounded above or not, whatever operator spells it."""
GATES = {"constant": True, "differentiated": False}
ATTENTION = {"constant": True, "shared": False}

WILDCARD = re.compile(r"[*?\[]")

Override = Setting | list[float]


@dataclass(frozen=True)
class Selector:
    """A selector and its rule. Every key given must match; `first` and `last` are meant along the
    explanation path.
    """

    rule: Rule
    ops: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    name: str = "*"
    first: bool = False
    last: bool = False
    index: tuple[int, int] | None = None
    depth: tuple[float, float] | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    own: bool = True
    """Whether the composite's own file (not its base) names the rule."""
    pattern: str = ""
    """The user's pattern that put it in front, if one did."""

    def selects(self, step: Step) -> bool:
        """Whether a node on the path matches op, kind, name, index and depth."""
        low, high = self.index or (0, step.index)
        upper, lower = self.depth or (0.0, 1.0)
        return (
            (not self.ops or not self._types(step).isdisjoint(self.ops))
            and (not self.kinds or step.kind in self.kinds or self._rectifies(step))
            and self._is_named(step.names)
            and low <= step.index <= high
            and upper <= step.depth <= lower
        )

    def _types(self, step: Step) -> set[str]:
        """What `op` is compared with: what the node acts as; the user's may be as written, too."""
        return {step.op_type, step.node.op_type} if self.pattern else {step.op_type}

    def _is_named(self, names: tuple[str, ...]) -> bool:
        """Whether one of the names is of its pattern; how it begins is compared first, since it
        takes long to translate the patterns of tens of thousands.
        """
        return any(
            name.startswith(self._start) and fnmatch.fnmatchcase(name, self.name) for name in names
        )

    @cached_property
    def _start(self) -> str:
        return WILDCARD.split(self.name, maxsplit=1)[0]

    def _rectifies(self, step: Step) -> bool:
        return RECTIFIER in self.kinds and is_rectifier(step.node)

    def takes(self, rule_name: str, name: str) -> bool:
        """Whether `--set [RULE.]NAME` reaches its rule."""
        if name not in self.rule.parameters:
            return False
        if rule_name:
            return self.rule.name == rule_name
        return self.own and not self.rule.parameters[name].by_rule_only

    def describe(self) -> str:
        """The selector in words, for reports."""
        position = "first " * self.first + "last " * self.last
        what = ", ".join(self.ops or self.kinds) or "any node"
        named = "" if self.name == "*" else f" named {self.name}"
        at = f" at {self.index[0]}-{self.index[1]}" if self.index else ""
        deep = f" at depth {self.depth[0]:g} to {self.depth[1]:g}" if self.depth else ""
        return f"{position}{what}{named}{at}{deep}"


@dataclass(frozen=True)
class Composite:
    """Selectors in order; `constant_gates` says whether products with a gate treat the gate as a
    constant, `constant_attention` whether those with a softmax do so.
    """

    name: str
    summary: str
    reference: str
    selectors: tuple[Selector, ...]
    constant_gates: bool
    constant_attention: bool = False
    activations: tuple[str, ...] = ()
    """The activations it is meant for: operators, or RECTIFIER; others are a warning. Empty: any.
    """
    base_only: bool = False
    """Whether it is there for others to extend and leaves linear layers without a rule."""

    def with_rules(self, rules: Mapping[str, str]) -> Composite:
        """Put `PATTERN → rule` in front; a pattern is an operator type or a name.

        A name with wildcards reaches the nodes that the rule is for, not the activations between.
        """
        selectors = []
        for pattern, rule in rules.items():
            by_type = pattern.isalnum() and pattern[0].isupper()
            loaded = load_rule(rule)
            by_name = Selector(loaded, kinds=_reach(pattern, loaded), name=pattern, pattern=pattern)
            selectors += [Selector(loaded, ops=(pattern,), pattern=pattern)] * by_type + [by_name]
        return replace(self, selectors=(*selectors, *self.selectors))

    def with_parameters(
        self, parameters: Mapping[str, Override], chosen_because: str = ""
    ) -> Composite:
        """Set `[RULE.]NAME` to values; CompositeError for a name that reaches no rule of the
        composite.

        chosen_because: why `auto` took the composite; empty where it is named.
        """
        selectors = list(self.selectors)
        for key, value in parameters.items():
            rule_name, _, name = key.rpartition(".")
            reached = [k for k, selector in enumerate(selectors) if selector.takes(rule_name, name)]
            if not reached:
                named = f"composite {self.name!r}"
                by_auto = f"{named}, which auto takes here ({chosen_because})"
                remedy = " Leave it out, or name another with --composite." * bool(chosen_because)
                raise CompositeError(
                    f"{by_auto if chosen_because else named}: nothing takes a parameter {key!r}. "
                    f"{self._settable()}{remedy}"
                )
            for k in reached:
                selectors[k] = replace(
                    selectors[k], parameters={**selectors[k].parameters, name: value}
                )
        return replace(self, selectors=tuple(selectors))

    def _settable(self) -> str:
        names = {
            f"{x.rule.name}.{p}": None for x in self.selectors if x.own for p in x.rule.parameters
        }
        return f"It has: {', '.join(names)}." if names else "Its rules have no parameters."

    def selector_of(self, step: Step) -> Selector:
        """The first that matches; CompositeError if none does."""
        for selector in self.selectors:
            if selector.selects(step) and _placed(selector, step):
                return selector
        raise CompositeError(
            f"composite {self.name!r}: nothing matches node {step.node.name!r} "
            f"({step.node.op_type}). "
            f'Add a [[layer]] with kind = "{step.kind}".'
        )


def _placed(selector: Selector, step: Step) -> bool:
    """`first`: no node that the selector matches lies before it; `last`: none behind it."""
    before = not selector.first or not any(_counts(selector, s) for s in step.before())
    return before and (not selector.last or not any(_counts(selector, s) for s in step.behind()))


def _counts(selector: Selector, step: Step) -> bool:
    """Whether the selector matches, the weights of a recurrent cell taken as linear."""
    return selector.selects(replace(step, kind="linear") if is_linear_layer(step) else step)


def _reach(pattern: str, rule: Rule) -> tuple[str, ...]:
    """The kinds of nodes that a pattern with wildcards is meant for; () for any."""
    if not rule.shares or not set(pattern) & set("*?["):
        return ()
    return ("linear",) if rule.operator is None else ("maximum",)


def chosen_composite(name: str) -> Composite:
    """The same as `load_composite`; CompositeError for one that is only there to be extended."""
    composite = load_composite(name)
    if composite.base_only:
        choices = choices_of(library().joinpath("composites"), "composite")
        raise CompositeError(
            f"composite {name!r} is only there to be extended (base = {name!r} in a .toml file): "
            f"it has no rule for linear layers. {choices}"
        )
    return composite


def load_composite(name: str) -> Composite:
    """The composite of that name in the library, or of that file if the name ends in .toml.

    Raises CompositeError naming file, key and remedy.
    """
    return _read(name) if name.endswith(".toml") else _of_library(name)


def _read(name: str, extending: tuple[str, ...] = ()) -> Composite:
    """extending: the files that name this one as their base, each the base of the one before."""
    if name in extending:
        raise CompositeError(f"composite file {name!r} extends itself. Give another base.")
    try:
        place, table = read_toml(name, library().joinpath("composites"), "composite")
    except RuleError as e:
        raise CompositeError(str(e)) from e
    try:
        return _composite(name, table, (*extending, name))
    except LrpError as e:
        raise CompositeError(f"composite file {place!r}: {e}") from e


_of_library = cache(_read)  # a file of the user's may change, one of the library does not


def _composite(file: str, table: dict[str, Any], extending: tuple[str, ...]) -> Composite:
    name, folder = Path(file).name.removesuffix(".toml"), Path(file).parent
    check_keys(table, COMPOSITE_KEYS, "the composite")
    base_name = typed(table, "base", str, None)
    own_file = base_name is not None and base_name.endswith(".toml")
    load = partial(_read, extending=extending) if own_file else load_composite
    base = load(base_name) if base_name else None
    own = tuple(_selector(t, folder) for t in typed(table, "layer", list))
    inherited = tuple(replace(x, own=False) for x in base.selectors) if base else ()
    return Composite(
        name=name,
        summary=typed(table, "summary", str),
        reference=typed(table, "reference", str),
        selectors=(*own, *inherited),
        constant_gates=_choice(table, "gates", GATES, base is None or base.constant_gates),
        constant_attention=_choice(
            table, "attention", ATTENTION, base is not None and base.constant_attention
        ),
        activations=_strings(table, "activations"),
        base_only=typed(table, "base_only", bool, False),
    )


def _choice(
    table: Mapping[str, Any], key: str, choices: Mapping[str, bool], inherited: bool
) -> bool:
    """What the word under `key` stands for; the base's where there is none."""
    word = typed(table, key, str, None)
    if word is not None and word not in choices:
        raise CompositeError(f"key {key!r} is {word!r}. Give one of {', '.join(choices)}.")
    return inherited if word is None else choices[word]


def _selector(table: object, folder: Path) -> Selector:
    if not isinstance(table, dict):
        raise CompositeError("'layer' holds something else than tables. Write [[layer]].")
    check_keys(table, SELECTOR_KEYS, "a layer")
    kinds = _strings(table, "kind")
    for op in _strings(table, "op"):
        if not onnx.defs.has(op) and not any(op == name for _, name in REGISTRY):
            raise CompositeError(f"key 'op': {op!r} is no ONNX operator. Mend its spelling.")
    if unknown := set(kinds) - {*KINDS, RECTIFIER}:
        known = ", ".join((*KINDS, RECTIFIER))
        raise CompositeError(f"key 'kind' is {unknown.pop()!r}. Give some of {known}.")
    rule = _rule_of(typed(table, "rule", str), folder)
    parameters = typed(table, "parameters", dict, {})
    for name, value in parameters.items():
        if name not in rule.parameters:
            raise CompositeError(
                f"rule {rule.name!r} has no parameter {name!r}. It has: "
                f"{', '.join(rule.parameters)}."
            )
        rule.parameters[name].check(value, f"parameter {name!r}")
    return Selector(
        rule=rule,
        ops=_strings(table, "op"),
        kinds=kinds,
        name=typed(table, "name", str, "*"),
        first=typed(table, "first", bool, False),
        last=typed(table, "last", bool, False),
        index=_index(table),
        depth=_depth(table),
        parameters=parameters,
    )


def _rule_of(name: str, folder: Path) -> Rule:
    """A rule by name, or by a path relative to the composite's own file."""
    beside = folder / name
    return load_rule(str(beside) if name.endswith(".toml") and os.path.isfile(beside) else name)


def _strings(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise CompositeError(f"key {key!r} is {value!r}. Give a string or a list of strings.")
    return tuple(value)


def _index(table: Mapping[str, Any]) -> tuple[int, int] | None:
    value = table.get("index")
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
        raise CompositeError(f"key 'index' is {value!r}. Give [first, last], counted from 0.")
    return value[0], value[1]


def _depth(table: Mapping[str, Any]) -> tuple[float, float] | None:
    value = table.get("depth")
    if value is None:
        return None
    numbers = isinstance(value, list) and all(type(v) in (int, float) for v in value)
    if not (numbers and len(value) == 2 and 0 <= value[0] <= value[1] <= 1):
        raise CompositeError(
            f"key 'depth' is {value!r}. Give [from, to]: shares of the depth, 0 at the first "
            "linear layer and 1 at the last."
        )
    return float(value[0]), float(value[1])
