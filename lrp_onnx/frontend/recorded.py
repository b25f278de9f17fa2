"""One node as the model has it, whatever later stages do to the graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["Recorded"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One node of the model; tensors by name, None for an input that is left out."""

    domain: str
    op_type: str
    name: str | None
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    attributes: tuple[ir.Attr, ...]

    @staticmethod
    def of(node: ir.Node) -> Recorded:
        """The node as it is now."""
        return Recorded(
            node.domain,
            node.op_type,
            node.name,
            tuple(None if v is None else v.name for v in node.inputs),
            tuple(v.name for v in node.outputs),
            tuple(map(_recorded, node.attributes.values())),
        )

    def is_now(
        self,
        node: ir.Node,
        inputs: Sequence[ir.Value | None],
        names: Collection[str | None],
    ) -> bool:
        """Whether the node is this one, unchanged; an output whose name is none of the `names` may
        have lost it.
        """
        if (node.domain, node.op_type) != (self.domain, self.op_type):
            return False
        outputs = tuple(
            v.name if n and n in names else n
            for n, v in zip(self.outputs, node.outputs, strict=False)
        )
        if node.inputs != inputs or (outputs, len(node.outputs)) != (self.outputs, len(outputs)):
            return False
        known = tuple(node.attributes.values())
        if any(a.name == "ceil_mode" for a in self.attributes):
            return True  # written so that onnx infers the size that runtimes give
        return len(known) == len(self.attributes) and all(map(_same, known, self.attributes))


def _recorded(attribute: ir.Attr) -> ir.Attr:
    """The attribute; of a body a copy, which later stages do not change."""
    if attribute.type != ir.AttributeType.GRAPH:
        return attribute
    return ir.AttrGraph(attribute.name, attribute.as_graph().clone(allow_outer_scope_values=True))


def _same(one: ir.Attr, other: ir.Attr) -> bool:
    if one is other:
        return True
    simple = one.type not in (ir.AttributeType.GRAPH, ir.AttributeType.TENSOR)
    return simple and (one.name, one.type, one.value) == (other.name, other.type, other.value)
