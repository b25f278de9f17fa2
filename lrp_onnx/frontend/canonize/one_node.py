"""Rewrites that look at one node of an operator after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps

import onnx_ir as ir

from lrp_onnx.graph.constants import constants_of
from lrp_onnx.graph.makers import standard_nodes

__all__ = ["View", "each"]


class View:
    """The graph of a model, and what in it is constant."""

    def __init__(self, model: ir.Model) -> None:
        self.model, self.graph = model, model.graph

    @cached_property
    def constants(self) -> set[ir.Value]:
        """See `constants_of`."""
        return constants_of(self.graph)


def each(
    *op_types: str,
) -> Callable[[Callable[[View, ir.Node], bool]], Callable[[ir.Model], bool]]:
    """A pass out of what rewrites one node of these operators, and says whether it did."""

    def as_pass(rewrite: Callable[[View, ir.Node], bool]) -> Callable[[ir.Model], bool]:
        @wraps(rewrite)
        def rewritten(model: ir.Model) -> bool:
            view = View(model)
            return sum(rewrite(view, node) for node in standard_nodes(view.graph, *op_types)) > 0

        return rewritten

    return as_pass
