"""Carried values of a Loop or Scan that no iteration changes: a constant stays one inside.

TensorFlow's loops carry the weights that their bodies read, each iteration hands them on.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.makers import inputs_by
from lrp_onnx.graph.subgraphs import bodies_of, nodes_of, ports_of

__all__ = ["read_invariants_directly"]


def read_invariants_directly(model: ir.Model) -> bool:
    """Let bodies read such constants from outside; says whether one did."""
    changed = False
    for node in list(nodes_of(model.graph)):
        if node.op_type not in ("Loop", "Scan") or node.domain:
            continue
        (body,) = bodies_of(node)
        for k, (at, before, after) in enumerate(ports_of(node).states):
            first, inner = node.inputs[at], body.inputs[before]
            if first is None or not first.is_initializer():
                continue
            if _handed_on(body.outputs[after]) is inner:
                changed |= _read_directly(first, inner)
                changed |= _read_directly(first, node.outputs[k])
    return changed


def _handed_on(value: ir.Value) -> ir.Value:
    """What a value is a copy of."""
    while (source := inputs_by(value, "Identity")) and source[0] is not None:
        value = source[0]
    return value


def _read_directly(first: ir.Value, value: ir.Value) -> bool:
    """`first` for each node that reads the value and does not only hand it on."""
    readers = [(n, k) for n, k in value.uses() if n.op_type != "Identity"]
    for node, k in readers:
        node.replace_input_with(k, first)
    return bool(readers)
