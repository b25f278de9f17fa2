"""What a Scan of the explanation computes from what is known of every step goes out of its body: it
is computed of all steps at once.

Steps are then samples: slices (N, …) of T steps make one tensor (T·N, …), on which an operator that
keeps samples apart computes what it computes of each slice.  In the body stays what depends on the
values that it carries, and of that what only its results depend on goes behind it.  So of an LSTM's
T small products of matrices the forward has one large one, since its operator gives the hidden
states of all steps, and the body of the backward has the product with R alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from lrp_onnx.graph.annotations import BACKWARD_OF
from lrp_onnx.graph.appending import append_node
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.constants import may_differ
from lrp_onnx.graph.dtypes import HALF
from lrp_onnx.graph.open_scan import OpenScan, Slices
from lrp_onnx.graph.replacement import Build, Written, take_place
from lrp_onnx.lowering.part_product import part_product
from lrp_onnx.ops.registry import find

__all__ = ["all_steps_at_once"]

BY_ROWS = ("Gemm", "MatMul", "Softmax", "LayerNormalization", "Concat", "Split", "Slice")
"""What keeps rows apart whatever their number, besides what is elementwise."""


def all_steps_at_once(emit: Emit) -> None:
    """Take out of each backward Scan of the graph and out of its forward what needs no steps."""
    backward = [node for node in emit.graph if BACKWARD_OF in node.meta]
    forward = {node.meta[BACKWARD_OF] for node in backward}
    written = Written()
    for node in list(emit.graph):
        if node in forward or node in backward:
            scan = OpenScan(node)
            scan.leave_out()
            _take_out(emit, scan, written)


def _take_out(emit: Emit, scan: OpenScan, written: Written) -> None:
    steps = _Steps(emit, scan, written)
    if steps.batch is not None:
        steps.go_before()
        steps.part_where_one_goes_behind()
        steps.before.insert_before(scan.node)
        steps.go_behind()
        scan.leave_out()
    _put_computed_first(scan)
    node = scan.close()
    if node is not None:
        emit.graph.insert_after(node, steps.behind.nodes)


def _put_computed_first(scan: OpenScan) -> None:
    """a·x instead of x·a where x is a slice or a carried value: OpenVINO 2026.4 computes in the
    memory of the first factor, and what the next steps read is then wrong.
    """
    inputs = {*(state.before for state in scan.states), *(s.slice for s in scan.read)}
    for node in scan.body:
        if node.op_type in ("Add", "Mul") and node.inputs[0] in inputs:
            first, second = node.inputs
            node.replace_input_with(0, second)
            node.replace_input_with(1, first)


class _Steps:
    """The slices of a Scan, and what all of them make: (T·N, …)."""

    def __init__(self, emit: Emit, scan: OpenScan, written: Written) -> None:
        self.scan = scan
        self.reverse = scan.read[0].reverse
        self.read = {s.slice: s for s in scan.read if not s.axis}
        self.before = Build(emit.graph, scan.node, "steps", written=written)
        self.behind = Build(emit.graph, scan.node, "after", written=written)
        self.rows = dict[ir.Value, ir.Value]()
        """Value of the body → its rows of all steps, where they are computed outside."""
        self.wholes = dict[ir.Value, ir.Value]()
        """(T·N, …) → the same as (T, N, …)."""
        firsts = [v.shape[0] for v in (*self._carried(), *self.read) if v.shape]
        ways = {s.reverse for s in (*scan.read, *scan.written)}
        known = bool(firsts) and _is_known(firsts[0]) and len(ways) == 1
        self.batch = firsts[0] if known else None
        """The size along axis 0 of every slice; None where steps cannot be laid together."""

    def _carried(self) -> list[ir.Value]:
        return [state.before for state in self.scan.states]

    def is_batched(self, value: ir.Value) -> bool:
        """Whether its rows are as many as those of any slice, and of a known size."""
        shape = value.shape
        if not shape or shape[0] != self.batch or value.dtype in (None, *HALF):
            return False
        return all(isinstance(d, int) and d for d in shape[1:])

    def is_inside(self, value: ir.Value) -> bool:
        """Whether another step may have another."""
        maker = value.producer()
        inputs = {*self._carried(), *(s.slice for s in self.scan.read)}
        return value in inputs or (maker is not None and maker.graph is self.scan.body)

    def is_known(self, value: ir.Value) -> bool:
        """Whether all steps of it are there before the first."""
        return value in self.rows or (value in self.read and self.is_batched(value))

    def takes_rows(self, node: ir.Node, of: Sequence[int]) -> bool:
        """Whether a node whose inputs `of` hold samples takes those of all steps as well."""
        operator = find(node)
        if operator is None or may_differ(node) or not of:
            return False
        if not (operator.elementwise or node.op_type in BY_ROWS):
            return False
        if node.attributes.get_int("transA", 0) or not operator.samples_apart(node, of):
            return False
        if node.op_type in BY_ROWS and not _keeps_rows(node, of):
            return False
        others = [v for k, v in enumerate(node.inputs) if v is not None and k not in of]
        if any(self.is_inside(v) or not self._is_alike(node, v) for v in others):
            return False
        return all(self.is_batched(v) for v in node.outputs if v.uses() or v.is_graph_output())

    def _is_alike(self, node: ir.Node, operand: ir.Value) -> bool:
        """Whether an operand from outside is the same for every sample."""
        rank = len(node.outputs[0].shape or ())
        if operand.shape is None or node.op_type == "Concat":
            return False
        weight = node.op_type in ("Gemm", "MatMul") and operand is node.inputs[1]
        if weight or node.op_type in ("Slice", "Split"):
            return len(operand.shape) <= 2
        return len(operand.shape) < rank or operand.shape[0] == 1

    def inner(self, node: ir.Node) -> list[int]:
        """The inputs that hold samples."""
        return [k for k, v in enumerate(node.inputs) if v is not None and self.is_inside(v)]

    def rows_of(self, build: Build, value: ir.Value) -> ir.Value:
        """(N, …) of each step as (T·N, …)."""
        if value not in self.rows:
            whole, sizes = self.read[value].whole, _sizes(value)
            rows = build.op("Reshape", whole, build.ints(-1, *sizes))
            rows.shape = ir.Shape([None, *sizes])
            self.rows[value], self.wholes[rows] = rows, whole
        return self.rows[value]

    def all_of(self, build: Build, value: ir.Value) -> ir.Value:
        """The same as (T, N, …)."""
        rows, sizes = self.rows_of(build, value), _sizes(value)
        if rows not in self.wholes:
            read = [s.whole for s in self.read.values() if self.is_batched(s.slice)]
            like = next((v for v in read if v.shape is not None), read[0])
            steps = like.shape[0] if like.shape is not None else None
            if isinstance(steps, int) or isinstance(self.batch, int):
                first = [d if isinstance(d, int) else -1 for d in (steps, self.batch)]
                wanted = build.ints(*first, *sizes)
            else:
                first_sizes = build.op("Shape", like, start=0, end=2)
                wanted = build.op("Concat", first_sizes, build.ints(*sizes), axis=0)
            whole = build.op("Reshape", rows, wanted)
            whole.shape = ir.Shape([steps, *(value.shape or ())])
            self.wholes[rows] = whole
        return self.wholes[rows]

    def copied(self, build: Build, node: ir.Node) -> None:
        """The node outside, on the rows of all steps."""
        inputs = [
            self.rows_of(build, v) if v is not None and self.is_inside(v) else v
            for v in map(self._lifted, node.inputs)
        ]
        if node.op_type == "Identity" and inputs[0] is not None:
            self.rows[node.outputs[0]] = inputs[0]
            return
        for value, rows in zip(node.outputs, build.copy(node, inputs), strict=True):
            rows.type = value.type
            if value.shape is not None:
                rows.shape = ir.Shape([None, *value.shape[1:]])
            self.rows[value] = rows

    def _lifted(self, value: ir.Value | None) -> ir.Value | None:
        """A constant of the body as one of the graph."""
        if value is None or value.const_value is None or value.graph is not self.scan.body:
            return value
        array = value.const_value.numpy()
        return self.before.constant(array, value.const_value.dtype)

    def parts(self, node: ir.Node) -> bool:
        """Whether parts of a product stand in its place from now on."""
        parted = part_product(self.before, node)
        if parted:
            self.scan.refresh()
        return parted

    def go_before(self) -> None:
        """Compute in front of the Scan what does not depend on what it carries."""
        out = {n: None for n in self.scan.body if self._goes_before(n)}
        self._hand_out(self.before)
        for value in [v for node in out for v in node.outputs]:
            readers = [(user, k) for user, k in value.uses() if user not in out]
            ends = [s for s in self.scan.states if s.after is value]
            across = [s for s in self.scan.written if s.slice is value]  # along another axis
            if readers or ends or across:
                read = ir.Value(name=f"{value.name}/slice", type=value.type, shape=value.shape)
                whole = self.all_of(self.before, value)
                self.scan.read.append(Slices(whole, read, 0, self.reverse))
                self.read[read] = self.scan.read[-1]
                for user, k in readers:
                    user.replace_input_with(k, read)
                for state in ends:
                    state.after = self._copy(read)
                for s in across:
                    s.slice = self._copy(read)
        self.scan.give()
        self.scan.remove(out)

    def _goes_before(self, node: ir.Node) -> bool:
        of = self.inner(node)
        if not of:
            self._lift(node)
            return False
        inputs = [node.inputs[k] for k in of]
        if not all(v is not None and self.is_known(v) for v in inputs):
            return False
        if not self.takes_rows(node, of) or self.parts(node):
            return False
        self.copied(self.before, node)
        return True

    def _lift(self, node: ir.Node) -> None:
        """Compute once what is the same in every step."""
        same = node.inputs and find(node) is not None and not may_differ(node)
        if not same or any(v.is_graph_output() for v in node.outputs):
            return
        results = self.before.copy(node, [self._lifted(v) for v in node.inputs])
        for value, result in zip(node.outputs, results, strict=True):
            result.type, result.shape = value.type, value.shape
            value.replace_all_uses_with(result)
        self.scan.remove([node])

    def _hand_out(self, build: Build) -> None:
        """Results of the Scan that are computed outside."""
        for s in list(self.scan.written):
            if s.slice in self.rows and not s.axis:
                self.scan.written.remove(s)
                whole = self.all_of(build, s.slice)
                if s.whole.is_graph_output():
                    take_place(s.whole, build.op("Identity", whole))
                s.whole.replace_all_uses_with(whole)

    def part_where_one_goes_behind(self) -> None:
        """Part the products of which only some columns are needed for the next step."""
        needed = set[ir.Node]()
        for node in reversed(self.scan.body):
            users = {user for value in node.outputs for user, _ in value.uses()}
            if users & needed or any(s.after in node.outputs for s in self.scan.states):
                needed.add(node)
                if users - needed:
                    self.parts(node)

    def go_behind(self) -> None:
        """Compute behind the Scan what only its results depend on."""
        out = dict[ir.Node, None]()
        results = {s.slice for s in self.scan.written if not s.axis}
        ends = {*(state.after for state in self.scan.states)} | {
            s.slice for s in self.scan.written if s.axis
        }
        for node in reversed(self.scan.body):
            users = {user for value in node.outputs for user, _ in value.uses()}
            mixed = any(v in ends for v in node.outputs) or not users <= out.keys()
            of = self.inner(node)
            inputs = [v for k in of if (v := node.inputs[k]) is not None]
            if not mixed and all(map(self.is_batched, inputs)) and self.takes_rows(node, of):
                out[node] = None
        results_out = results & {v for node in out for v in node.outputs}
        border = list(self._frontier(out))
        if not results_out or len(out) <= len(border):
            return
        for value in border:
            self._stack(value)
        for node in reversed(out):
            self.copied(self.behind, node)
        self._hand_out(self.behind)
        self.scan.remove(out)

    def _frontier(self, out: dict[ir.Node, None]) -> Iterator[ir.Value]:
        """What nodes read that go behind and stays in the body."""
        seen = set[ir.Value]()
        for node in reversed(out):
            for value in node.inputs:
                if value is None or value in seen or not self.is_inside(value):
                    continue
                seen.add(value)
                if not self.is_known(value) and value.producer() not in out:
                    yield value

    def _copy(self, value: ir.Value) -> ir.Value:
        """A copy in the body: no input is a result, and no value two of them."""
        name = f"{value.name}/kept"
        result = ir.Value(name=name, type=value.type, shape=value.shape)
        append_node(self.scan.body, "Identity", [value], [result], name)
        return result

    def _stack(self, value: ir.Value) -> None:
        """One more result of the Scan: the value of every step."""
        whole = ir.Value(name=f"{value.name}/all", type=value.type)
        self.scan.written.append(Slices(whole, self._copy(value), 0, self.reverse))
        rows = self.behind.op("Reshape", whole, self.behind.ints(-1, *_sizes(value)))
        rows.shape = ir.Shape([None, *_sizes(value)])
        self.rows[value], self.wholes[rows] = rows, whole


def _keeps_rows(node: ir.Node, of: Sequence[int]) -> bool:
    """Whether the operator reads rows of several numbers each, and all of them."""
    ranks = [len(v.shape or ()) for k in of if (v := node.inputs[k]) is not None]
    if min(ranks) < 2:
        return False
    if node.op_type != "Slice":
        return True
    axes = constant_ints(node.inputs[3]) if len(node.inputs) > 3 else None
    return axes is not None and all(axis % ranks[0] for axis in axes)


def _sizes(value: ir.Value) -> list[int]:
    """The sizes of a row."""
    return [d for d in list(value.shape or ())[1:] if isinstance(d, int)]


def _is_known(size: int | ir.SymbolicDim) -> bool:
    return isinstance(size, int) or size.value is not None
