"""Recurrent cells in whatever spelling: which factors are gates, and which sums share a signal out.

Gates get no relevance; all goes to the signal that they let through (Arras et al. 2017, 2019).  A
product is taken as gated only where the spelling shows a cell, so that x·σ(…) elsewhere
(squeeze-and-excitation, GLU, highway networks) stays a product of two activations.  With σ a
Sigmoid or HardSigmoid, 1 - σ included, and values followed through nodes that move them:

1. σ · tanh(…) is gated if σ does not depend on that tanh, as it does in squeeze-and-excitation:
   i·g and o·tanh(c) of an LSTM, (1 - z)·n of a GRU;
2. σ · u is gated if it is added to a gated product: f·c of an LSTM, z·h of a GRU;
3. σ · u is gated inside the signal's pre-activation, the sums of linear layers in front of that
   tanh: r·(R·h + b) and R·(r·h) of a GRU.

An interpolation n + z·(h - n) is written out as (1 - z)·n + z·h beforehand.  Where a decomposition
has marked a gate, the same is read from the mark, whatever the functions are.

The sum of gated products (c_t, h_t) and the signal's whole pre-activation share relevance out with
the stabilizer of the papers: they are of kind `cell`.  A pre-activation made of several parts (W·x
and R·h apart) must come out like that of one layer on [x, h]: its parts are of kind `recurrent`,
shared out without a stabilizer of their own, since a·(R/z)/a = R/z.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx_ir as ir

from lrp_onnx.frontend.canonize.gates import comes_from, is_gate, maker_of
from lrp_onnx.graph.annotations import CELL, GATE
from lrp_onnx.graph.makers import upstream
from lrp_onnx.graph.subgraphs import graphs_of
from lrp_onnx.ops.registry import find

__all__ = ["mark_cells"]


def mark_cells(model: ir.Model) -> None:
    """Mark the gates and sums of every cell, in every graph."""
    nodes = [node for graph in graphs_of(model.graph) for node in graph if not node.domain]
    order = {node: k for k, node in enumerate(nodes)}
    products = [node for node in nodes if node.op_type == "Mul"]
    for node in products:
        for gate, signal in ((0, 1), (1, 0)):
            function = maker_of(node.inputs[signal])
            if function is None or not comes_from(node.inputs[signal], ("Tanh",)):
                continue
            if is_gate(node.inputs[gate]) and not _depends(node.inputs[gate], function, order):
                node.metadata_props.setdefault(GATE, str(gate))
    sums = [node for node in nodes if node.op_type == "Add"]
    for node in sums:
        _mark_sum(node)
    for node in [node for node in products if GATE in node.metadata_props]:
        _mark_signal(node)


def _depends(value: ir.Value | None, on: ir.Node, order: Mapping[ir.Node, int]) -> bool:
    """Whether a value is computed from a node's result."""
    first = order[on]

    def onward(node: ir.Node) -> Iterable[ir.Value | None]:
        return node.inputs if order.get(node, first) >= first else ()

    return any(v.producer() is on for v in upstream([value], onward))


def _mark_sum(node: ir.Node) -> None:
    """A sum with a gated product: its other product is gated too, and it is of the cell."""
    makers = [maker_of(v) for v in node.inputs]
    gated = [m for m in makers if _gated(m)]
    if not gated:
        return
    for maker in makers:
        if maker is not None and not _gated(maker):
            _mark_gate(maker)
    if all(_gated(m) for m in makers):
        node.metadata_props[CELL] = "cell"


def _mark_gate(node: ir.Node) -> None:
    if node.op_type != "Mul" or node.domain:
        return
    gates = [k for k, v in enumerate(node.inputs) if is_gate(v)]
    if len(gates) == 1:
        node.metadata_props[GATE] = str(gates[0])


def _mark_signal(node: ir.Node) -> None:
    """The pre-activation in front of the function whose value a gate lets through."""
    function = maker_of(_signal(node))
    operator = None if function is None else find(function)
    if function is None or operator is None or operator.kind != "activation":
        return
    top = maker_of(function.inputs[0])
    if top is None or CELL in top.metadata_props or not _shares(top):
        return
    top.metadata_props[CELL] = "cell"
    for part in _parts(top):
        part.metadata_props.setdefault(CELL, "recurrent")


def _parts(node: ir.Node) -> Iterator[ir.Node]:
    """The sums and linear layers that a pre-activation is the sum of; gates in it are marked."""
    operator = find(node)
    if operator is None or not operator.adds:
        _mark_gated_inputs(node)
        return
    for value in node.inputs:
        maker = maker_of(value)
        if maker is not None and maker.op_type == "Mul" and not maker.domain:
            if not _gated(maker):
                _mark_gate(maker)
            maker = maker_of(_signal(maker)) if _gated(maker) else None
        if maker is not None and CELL not in maker.metadata_props and _shares(maker):
            yield maker
            yield from _parts(maker)


def _mark_gated_inputs(linear: ir.Node) -> None:
    """r·h, alone or joined to x, in front of the weights."""
    for value in linear.inputs[:2]:
        maker = maker_of(value)
        joined = maker.inputs if maker is not None and maker.op_type == "Concat" else [value]
        for part in joined:
            factor = maker_of(part)
            if factor is not None and not _gated(factor):
                _mark_gate(factor)


def _shares(node: ir.Node) -> bool:
    """Whether it is a sum or a linear layer."""
    operator = find(node)
    return operator is not None and (operator.weighted or operator.adds)


def _gated(node: ir.Node | None) -> bool:
    return node is not None and GATE in node.metadata_props


def _signal(node: ir.Node) -> ir.Value | None:
    """The factor of a gated product that is no gate."""
    return node.inputs[1 - int(node.metadata_props[GATE])]
