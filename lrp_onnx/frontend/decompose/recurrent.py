"""LSTM, GRU and RNN as a Scan over time steps, for the explanation; the operator computes the
forward as before.

A gate's factor is marked, so that relevance goes to the signal that it lets through (Arras et al.
2017, section 3; 2019, section 4): Rg, the part that c_t has from i·g, goes through the g rows of
the weights to x_t and h_{t-1}, over the whole pre-activation with its bias; i, f, o, z and r get
none.  So the rows of the gates stand in one Gemm on [x_t, h_{t-1}], and those of g in another,
through which alone the backward goes.

Gate order as in ONNX: i, o, f, c (LSTM), z, r, h (GRU).  Spec: ONNX LSTM-14, GRU-14, RNN-14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.cell_functions import Function, functions_of
from lrp_onnx.frontend.decompose.heads import positions, size_of
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.annotations import GATE, STATES_OF
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

Value = ir.Value


@dataclass
class Cell:
    """One direction of a recurrent layer."""

    node: ir.Node
    direction: int
    reverse: bool
    hidden: int
    gates: int
    functions: tuple[Function, ...]
    build: Build
    x: Value
    """(T, N, I)"""

    def input(self, i: int) -> Value | None:
        """An input of the node, None where it is left out."""
        return self.node.inputs[i] if i < len(self.node.inputs) else None

    def own(self, value: Value) -> Value:
        """This direction's part of a tensor that has one for each along axis 0."""
        return self.build.op("Gather", value, self.build.constant(self.direction), axis=0)

    def rows(self, value: Value, first: int, last: int) -> Value:
        """The rows of gates first … last - 1."""
        bounds = (self.build.ints(k * self.hidden) for k in (first, last))
        return self.build.op("Slice", value, *bounds, self.build.ints(0))

    def weight(self, first: int, last: int) -> Value:
        """[W R] of some gates, (rows, I + H)."""
        parts = [self.rows(self.own(_there(self.input(i))), first, last) for i in (1, 2)]
        return self.build.op("Concat", *parts, axis=1)

    def bias(self, first: int, last: int, recurrent: bool | None = None) -> Value | None:
        """The bias of W (recurrent False), of R (True), or the sum of both, of some gates."""
        b = self.input(3)
        if b is None:
            return None
        own, shift = self.own(b), self.gates
        of_w = self.rows(own, first, last)
        of_r = self.rows(own, first + shift, last + shift)
        return self.build.op("Add", of_w, of_r) if recurrent is None else (of_w, of_r)[recurrent]

    def state(self, i: int) -> Value:
        """An initial state, (N, H), zeros where it is left out; N is called as it is in x."""
        initial, build = self.input(i), self.build
        if initial is not None and _size(initial, 1) == _size(self.x, 1) is not None:
            return self.own(initial)
        batch = build.op("Shape", self.x, start=1, end=2)
        shape = build.op("Concat", batch, build.ints(self.hidden), axis=0)
        if initial is not None:
            return build.op("Reshape", self.own(initial), shape)
        return build.op("Expand", build.like(0.0, self.x), shape)


def _size(value: Value, axis: int) -> int | str | None:
    """A size or its name, None where it has neither."""
    size = None if value.shape is None else value.shape[axis]
    return size.value if isinstance(size, ir.SymbolicDim) else size


def _there(value: Value | None) -> Value:
    if value is None:
        raise UnsupportedError("a weight is missing")
    return value


Step = Callable[[Build, Value, list[Value]], list[Value]]
"""What happens in one time step: (body, x_t, states) → new states, the first of them h."""


def _gated(build: Build, gate: Value, signal: Value) -> Value:
    """gate · signal; relevance goes to the signal."""
    product = build.op("Mul", gate, signal)
    maker = product.producer()
    assert maker is not None
    maker.metadata_props[GATE] = "0"
    return product


def _lstm(cell: Cell) -> Step:
    gates, gates_bias = cell.weight(0, 3), cell.bias(0, 3)
    signal, signal_bias = cell.weight(3, 4), cell.bias(3, 4)
    p = cell.input(7)
    peepholes = None if p is None else cell.own(p)
    looks = None if peepholes is None else [cell.rows(peepholes, k, k + 1) for k in range(3)]
    clip, coupled = _clip(cell), cell.node.attributes.get_int("input_forget", 0)
    f, g, last = cell.functions

    def step(body: Build, x: Value, states: list[Value]) -> list[Value]:
        before, c = states
        both = body.op("Concat", x, before, axis=1)
        z = body.op("Gemm", both, gates, gates_bias, transB=1)
        g_pre = body.op("Gemm", both, signal, signal_bias, transB=1)
        i_pre, o_pre, f_pre = body.outputs("Split", 3, z, axis=1, num_outputs=3)
        if looks is not None:
            i_pre = body.op("Add", i_pre, body.op("Mul", looks[0], c))
            f_pre = body.op("Add", f_pre, body.op("Mul", looks[2], c))
        admit = f(body, clip(body, i_pre))
        forget = body.op("Sub", body.like(1.0, x), admit) if coupled else f(body, clip(body, f_pre))
        news = _gated(body, admit, g(body, clip(body, g_pre)))
        c = body.op("Add", _gated(body, forget, c), news)
        if looks is not None:
            o_pre = body.op("Add", o_pre, body.op("Mul", looks[1], c))
        return [_gated(body, f(body, clip(body, o_pre)), last(body, c)), c]

    return step


def _gru(cell: Cell) -> Step:
    weight, bias, clip = cell.weight(0, 2), cell.bias(0, 2), _clip(cell)
    f, g = cell.functions
    apart = bool(cell.node.attributes.get_int("linear_before_reset", 0))
    of_w, of_r = (cell.rows(cell.own(_there(cell.input(i))), 2, 3) for i in (1, 2))
    b_w, b_r = cell.bias(2, 3, False), cell.bias(2, 3, True)
    whole, b = cell.weight(2, 3), cell.bias(2, 3)

    def step(body: Build, x: Value, states: list[Value]) -> list[Value]:
        (before,) = states
        both = body.op("Gemm", body.op("Concat", x, before, axis=1), weight, bias, transB=1)
        z_pre, r_pre = body.outputs("Split", 2, both, axis=1, num_outputs=2)
        z, r = f(body, clip(body, z_pre)), f(body, clip(body, r_pre))
        if apart:
            back = body.op("Gemm", before, of_r, b_r, transB=1)
            ahead = body.op("Gemm", x, of_w, b_w, transB=1)
            pre = body.op("Add", ahead, _gated(body, r, back))
        else:
            joined = body.op("Concat", x, _gated(body, r, before), axis=1)
            pre = body.op("Gemm", joined, whole, b, transB=1)
        n = g(body, clip(body, pre))
        rest = body.op("Sub", body.like(1.0, x), z)
        return [body.op("Add", _gated(body, rest, n), _gated(body, z, before))]

    return step


def _rnn(cell: Cell) -> Step:
    weight, bias, clip = cell.weight(0, 1), cell.bias(0, 1), _clip(cell)
    (f,) = cell.functions

    def step(body: Build, x: Value, states: list[Value]) -> list[Value]:
        joined = body.op("Concat", x, states[0], axis=1)
        return [f(body, clip(body, body.op("Gemm", joined, weight, bias, transB=1)))]

    return step


def _clip(cell: Cell) -> Function:
    bound = cell.node.attributes.get_float("clip")
    if bound is None:
        return lambda body, value: value
    low, high = (cell.build.like(k * bound, cell.x) for k in (-1, 1))
    return lambda body, value: body.op("Clip", value, low, high)


KINDS: dict[str, tuple[int, tuple[str, ...], int, Callable[[Cell], Step]]] = {
    "LSTM": (4, ("Sigmoid", "Tanh", "Tanh"), 2, _lstm),
    "GRU": (3, ("Sigmoid", "Tanh"), 1, _gru),
    "RNN": (1, ("Tanh",), 1, _rnn),
}
"""Gates, default functions, carried states, and the step."""


@decomposes("LSTM")
@decomposes("GRU")
@decomposes("RNN")
def recurrent(build: Build, node: ir.Node) -> Sequence[Value | None]:
    """Y, Y_h and Y_c, explained by a Scan for each direction."""
    gates, defaults, states, step_of = KINDS[node.op_type]
    direction = node.attributes.get_string("direction", "forward")
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    if node.attributes.get_int("layout", 0):
        return _time_first(build, node)
    x = _there(node.inputs[0])
    functions = list(functions_of(node, list(defaults) * len(ways)))
    per_way = len(defaults)
    scans: list[list[Value]] = []
    for d, reverse in enumerate(ways):
        own = tuple(functions[d * per_way : (d + 1) * per_way])
        cell = Cell(node, d, reverse, _hidden(node), gates, own, build, x)
        scans.append(_scan(cell, step_of(cell), states))
    results = [_stacked(build, [y for *_, y in scans], 1)]
    results += [_stacked(build, [way[k] for way in scans], 0) for k in range(states)]
    pairs = zip(node.outputs, results, strict=False)
    return [build.explained(y, z) if y.uses() or y.is_graph_output() else None for y, z in pairs]


def _time_first(build: Build, node: ir.Node) -> Sequence[Value | None]:
    """The operator with layout 0 between transpositions: what runtimes have a kernel for."""

    def turned(value: Value | None) -> Value | None:
        return None if value is None else build.op("Transpose", value, perm=[1, 0, 2])

    inputs = [turned(v) if k in (0, 5, 6) else v for k, v in enumerate(node.inputs)]
    attributes: dict[str, Any] = {k: a for k, a in node.attributes.items() if k != "layout"}
    outputs = build.outputs(node.op_type, len(node.outputs), *inputs, **attributes)
    # Y is (N, T, directions, H), the states (N, directions, H)
    perms = ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2])
    return [
        build.op("Transpose", new, perm=perm) if old.uses() or old.is_graph_output() else None
        for old, new, perm in zip(node.outputs, outputs, perms, strict=False)
    ]


def _hidden(node: ir.Node) -> int:
    size = node.attributes.get_int("hidden_size")
    shape = _there(node.inputs[2]).shape
    size = shape[-1] if size is None and shape is not None else size
    if not isinstance(size, int):
        raise UnsupportedError("its hidden_size is unknown. Export the model with weight shapes")
    return size


def _stacked(build: Build, values: Sequence[Value], axis: int) -> Value:
    parts = [build.op("Unsqueeze", value, build.ints(axis)) for value in values]
    return build.op("Concat", *parts, axis=axis)


def _scan(cell: Cell, step: Step, count: int) -> list[Value]:
    """The states at the end and the outputs of every time step, (T, N, H)."""
    build, body = cell.build, Build(None, cell.node, f"step_{cell.direction}")
    kind = cell.x.type
    names = [f"{body.prefix}/{name}" for name in ("h", "c", "x", "t")]
    states = [ir.Value(name=names[k], type=kind) for k in range(count)]
    x = ir.Value(name=names[2], type=kind)
    after, read, inputs = step(body, x, states), [cell.x], [*states, x]
    y = after[0]
    lengths = cell.input(4)
    if lengths is not None:
        t = ir.Value(name=names[3], type=ir.TensorType(ir.DataType.INT32))
        read.append(_numbers(build, cell.x))
        inputs.append(t)
        going = body.op("Unsqueeze", body.op("Less", t, lengths), body.ints(1))
        after = [body.op("Where", going, a, s) for a, s in zip(after, states, strict=True)]
        y = body.op("Where", going, y, body.like(0.0, cell.x))
    outputs = [*after, body.op("Identity", y) if y in after else y]
    for value in outputs:
        value.type = kind
    graph = ir.Graph(
        inputs, outputs, nodes=body.nodes, initializers=body.constants, name=body.prefix
    )
    way = int(cell.reverse)
    first = [cell.state(5 + k) for k in range(count)]
    results = build.outputs(
        "Scan",
        count + 1,
        *first,
        *read,
        body=graph,
        num_scan_inputs=len(read),
        scan_input_directions=[way] * len(read),
        scan_output_directions=[way],
    )
    build.nodes[-1].meta[STATES_OF] = (cell.node, cell.direction)
    return list(results)


def _numbers(build: Build, x: Value) -> Value:
    """0, 1, 2, … over the time steps, int32."""
    return build.op("Cast", positions(build, size_of(build, x, 0)), to=int(ir.DataType.INT32))
