"""The Scan that stands for a recurrent operator reads the hidden states h_{t-1} that the operator
has computed, instead of carrying them.

Y holds h_t of every step and direction, (T, D, N, H); of sequences of several lengths it holds
zeros behind the end, where the Scan keeps the last state, so those carry theirs.  Spec: ONNX
LSTM-14, GRU-14, RNN-14.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import BACKWARD_OF, STATES_OF
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.open_scan import OpenScan, Slices
from lrp_onnx.graph.replacement import Build
from lrp_onnx.ops.operands import LAST

__all__ = ["read_known_states"]

LENGTHS = 4
"""The operator's input with the length of each sequence."""


def read_known_states(emit: Emit) -> None:
    """Let each forward Scan of the graph read the states that are computed already."""
    for node in [n.meta[BACKWARD_OF] for n in emit.graph if BACKWARD_OF in n.meta]:
        layer, direction = node.meta.get(STATES_OF, (None, 0))
        if layer is None or layer.graph is not emit.graph or node.graph is not emit.graph:
            continue
        if len(layer.inputs) <= LENGTHS or layer.inputs[LENGTHS] is None:
            _read(emit, OpenScan(node), layer, direction)


def _read(emit: Emit, scan: OpenScan, layer: ir.Node, direction: int) -> None:
    state, (x, *_) = scan.states[0], scan.read
    if state.last.uses() or state.first is None or x.axis:
        return
    emit.graph.remove(layer)
    emit.graph.insert_before(scan.node, layer)
    build = Build(emit.graph, scan.node, "states")
    y = layer.outputs[0]
    y.name, y.type = y.name or emit.fresh("lrp/states"), state.before.type
    if layer.attributes.get_string("direction", "forward") == "bidirectional":
        own = build.op("Gather", y, build.constant(direction), axis=1)
    else:
        own = build.op("Squeeze", y, build.ints(1))
    first = build.op("Unsqueeze", state.first, build.ints(0))
    bounds = (1, LAST) if x.reverse else (0, -1)
    later = build.op("Slice", own, *(build.ints(k) for k in (*bounds, 0)))
    states = build.op("Concat", *([later, first] if x.reverse else [first, later]), axis=0)
    shape = state.before.shape
    if shape is not None:
        states.shape = ir.Shape([x.whole.shape[0] if x.whole.shape else None, *shape])
    build.insert_before(scan.node)
    read = ir.Value(name=f"{state.before.name}/known", type=state.before.type, shape=shape)
    state.before.replace_all_uses_with(read)
    scan.states.remove(state)
    scan.read.append(Slices(states, read, 0, x.reverse))
    node = scan.close()
    for back in [n for n in emit.graph if n.meta.get(BACKWARD_OF) is scan.node]:
        back.meta[BACKWARD_OF] = node
