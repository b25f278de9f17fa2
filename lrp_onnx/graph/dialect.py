"""The dialect `lrp`: nodes that say what is computed, until a later stage says how.

| operator | operands → results | means |
| --- | --- | --- |
| Propagate | relevance of each output → of each active input | what the rule of the node says |
| Sum | relevance from two readers of a tensor → of the tensor | their sum |
| Mask | R, m → R·m | a condition |
| Whole | R → R | relevance that enters the body of a node |
| Account | relevance of outputs, of inputs → sums | see `propagation/conservation.py` |
| Product | a, c → R | a·c, not formed |
| Share | c, a, Z → c·a/Z | R/Z for R = a·c |
| LinearSum | b, x₁ … x_K, w₁ … w_K → z | Σ f(x_k; w_k) + b |
| LinearVjp | s₁ … s_K, w₁₁ … w_1J … w_KJ → c₁ … c_J | Σ_k vjp(s_k; w_kj) for every j |
| Stabilize | z, ε → z + ε·sgn(z) | sgn(0) = 1 |
| Side | z → sgn(z) | sgn(0) = 0 |
| AtLeast, AtMost | a, bound → max(a, bound), min(a, bound) | |
| Late | c → c | computed after what stands before it |

The first five come from the backward pass, one for each forward node (`propagation`), and are gone
after the rewrites; Product is what rewrites know of a tensor; the rest is written out by lowering.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from lrp_onnx.graph.annotations import OF, RULE
from lrp_onnx.graph.subgraphs import bodies_of

if TYPE_CHECKING:
    from lrp_onnx.graph.builder import Emit

__all__ = ["DIALECT", "Expansion", "is_dialect", "meant_by", "write_out"]

DIALECT = "lrp"

Expansion = Callable[["Emit", ir.Node], Sequence[ir.Value]]
"""Emits what stands for a node; returns a value for each of its outputs."""


def is_dialect(value: ir.Value, op_type: str) -> bool:
    """Whether that operator of the dialect makes the value."""
    node = value.producer()
    return node is not None and (node.domain, node.op_type) == (DIALECT, op_type)


def meant_by(node: ir.Node) -> Any:
    """What a node of the dialect stands for."""
    return node.meta[OF]


def write_out(
    emit: Emit,
    expansions: Mapping[str, Expansion],
    prepare: Callable[[Emit, ir.Node], None] = lambda emit, node: None,
) -> None:
    """Write out the nodes of these operators in order, in bodies too.

    prepare: called with every other emitted node.
    """
    emit.forget()
    written = []
    for node in tuple(emit.graph):
        if RULE not in node.metadata_props:
            continue
        if node.domain == DIALECT and node.op_type in expansions:
            if any(value.uses() for value in node.outputs):
                emit.write_before(node)
                values = expansions[node.op_type](emit, node)
                for old, new in zip(node.outputs, values, strict=True):
                    new.shape = old.shape if new.shape is None else new.shape
                    old.replace_all_uses_with(new)
            node.resize_inputs(0)
            written.append(node)
            continue
        prepare(emit, node)
        bodies = bodies_of(node)
        for body in bodies:
            write_out(emit.inside(body), expansions, prepare)
        if not bodies:
            emit.remember(node)
    emit.write_before(None)
    emit.graph.remove(written)  # together: for each call the outputs are looked through
