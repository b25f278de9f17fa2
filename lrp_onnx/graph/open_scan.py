"""A Scan as lists of what it carries, reads and writes, to change them and put it together again.

Spec: ONNX Scan-25.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.graph.replacement import take_place
from lrp_onnx.graph.subgraphs import bodies_of, ports_of

__all__ = ["OpenScan", "Slices", "State"]


@dataclass(eq=False)
class State:
    """A carried value: what it begins with, the body's input and output, and what it ends as."""

    first: ir.Value | None
    before: ir.Value
    after: ir.Value
    last: ir.Value


@dataclass(eq=False)
class Slices:
    """A tensor that the body reads or writes slice by slice along an axis."""

    whole: ir.Value
    slice: ir.Value
    axis: int = 0
    reverse: bool = False
    """Whether the last slice comes first."""


class OpenScan:
    """The connections of a Scan, in order."""

    def __init__(self, node: ir.Node) -> None:
        ports, (body,) = ports_of(node), bodies_of(node)
        self.node, self.body = node, body
        self.states = [
            State(node.inputs[n], body.inputs[b], body.outputs[out], node.outputs[k])
            for k, (n, b, out) in enumerate(ports.states)
        ]
        self.read = list[Slices]()
        for s in ports.read:
            whole = node.inputs[s.node]
            assert whole is not None
            self.read.append(Slices(whole, body.inputs[s.body], s.axis, s.reverse))
        self.written = [
            Slices(node.outputs[s.node], body.outputs[s.body], s.axis, s.reverse)
            for s in ports.written
        ]

    def give(self) -> None:
        """Let the body give what is listed."""
        self.body.outputs[:] = [
            *(state.after for state in self.states),
            *(s.slice for s in self.written),
        ]

    def refresh(self) -> None:
        """List what has taken the place of a result in the body."""
        count = len(self.states)
        for state, value in zip(self.states, self.body.outputs[:count], strict=True):
            state.after = value
        for s, value in zip(self.written, self.body.outputs[count:], strict=True):
            s.slice = value

    def leave_out(self) -> None:
        """Leave out what nothing reads, and copies in the place of results; one input stays, which
        says how many steps there are.
        """
        self.written = [s for s in self.written if s.whole.uses() or s.whole.is_graph_output()]
        self.read = [s for s in self.read if s.slice.uses()] or self.read[:1]
        for state in self.states:
            state.after = self._of_copy(state.after)
        for s in self.written:
            s.slice = self._of_copy(s.slice)
        self.give()

    def _of_copy(self, result: ir.Value) -> ir.Value:
        """What a result is a copy of, if that is no result and no input, and nothing else reads it:
        of a result that is read inside too tract 0.23 mistakes the shape.
        """
        copy = result.producer()
        value = copy.inputs[0] if copy is not None and copy.op_type == "Identity" else None
        maker = None if value is None else value.producer()
        if copy is None or value is None or maker is None or maker.graph is not self.body:
            return result
        taken = (*(s.after for s in self.states), *(s.slice for s in self.written))
        others = len(value.uses()) > 1 or bool(result.uses())
        if others or value in taken or taken.count(result) > 1:
            return result
        self.remove([copy])
        return value

    def remove(self, nodes: Iterable[ir.Node]) -> None:
        """Remove nodes from the body, whose results may still be its results."""
        for node in nodes:
            node.resize_inputs(0)
            self.body.remove(node)

    def close(self) -> ir.Node | None:
        """The Scan with these connections, in the place of the old; None where it gives nothing."""
        old, graph = self.node, self.node.graph
        assert graph is not None
        self.body.inputs[:] = [
            *(state.before for state in self.states),
            *(s.slice for s in self.read),
        ]
        self.give()
        results = [*(state.last for state in self.states), *(s.whole for s in self.written)]
        if not results:
            graph.remove(old, safe=True)
            return None
        numbers = {
            "scan_input_axes": [s.axis for s in self.read],
            "scan_input_directions": [int(s.reverse) for s in self.read],
            "scan_output_axes": [s.axis for s in self.written],
            "scan_output_directions": [int(s.reverse) for s in self.written],
        }
        node = ir.Node(
            "",
            "Scan",
            [*(state.first for state in self.states), *(s.whole for s in self.read)],
            [
                old.attributes["body"],
                ir.AttrInt64("num_scan_inputs", len(self.read)),
                *(ir.AttrInt64s(name, each) for name, each in numbers.items() if each),
            ],
            num_outputs=len(results),
            name=old.name,
            metadata_props=dict(old.metadata_props),
        )
        node.meta.update(old.meta)
        graph.insert_before(old, node)
        for before, value in zip(results, node.outputs, strict=True):
            take_place(before, value)
        graph.remove(old, safe=True)
        return node
