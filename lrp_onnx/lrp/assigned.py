"""A node on the explanation path with its rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrp_onnx.analysis.step import Step
from lrp_onnx.lrp.rule import Rule, Setting

__all__ = ["Assigned"]


@dataclass(frozen=True)
class Assigned:
    """A node on the path with its rule, the values of the rule's parameters, and why."""

    step: Step
    rule: Rule
    settings: Mapping[str, Setting]
    reason: str
    bodies: tuple[tuple[Assigned, ...], ...] = ()
    """The nodes on the path in each of its bodies."""
    may_be_unused: bool = False
    """Whether its values may be NaN or infinite where no relevance arrives."""
