"""The end of the model: behind a final Softmax, LogSoftmax or Sigmoid relevance starts at the
logits.

If only nodes that move, copy, cast or quantize values lie between such a node and the output, those
that move them are replayed on the logits, so that the start has the output's layout; the output
itself keeps its values.

A sigmoid is one of each element alone, so 1 − σ(x) = σ(−x) is one too, whose logit is −x, and so
are sigmoids that a Concat puts side by side: two classes (1 − σ(x), σ(x)) start at (−x, x).

An If whose branches all end so, and a Loop or Scan whose steps do, hands out the logits as one
output more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import onnx_ir as ir

from lrp_onnx.analysis.probability import (
    Logits,
    complement,
    moves,
    of_log_softmax,
    of_sigmoid,
    of_softmax,
    renormalized,
    same_value,
)
from lrp_onnx.graph.annotations import provenance
from lrp_onnx.graph.appending import append_node, hand_out
from lrp_onnx.graph.makers import inputs_by
from lrp_onnx.graph.subgraphs import CONTROL, bodies_of, ports_of

__all__ = ["Contrast", "classes_of_softmax", "logits_behind"]

Contrast = Callable[[ir.Graph, ir.Value, int], ir.Value]
"""Makes of the logits of a softmax, and the axis that it is over, what is explained of them."""


def logits_behind(
    graph: ir.Graph, output: ir.Value, contrast: Contrast | None = None, mixed: bool = False
) -> ir.Value:
    """The tensor relevance starts at: the logits in the output's layout, or the output itself.

    contrast: what takes the place of a softmax's logits, before the nodes behind it are replayed.
    mixed: whether what a Concat puts beside probabilities may be other numbers, which stay.
    """
    making = _logits(output, (of_softmax, of_log_softmax, of_sigmoid), mixed)
    return output if making is None else making.of(_Replay(graph, contrast))


def classes_of_softmax(output: ir.Value, mixed: bool = False) -> int:
    """Over how many classes the output is a softmax, or the logarithm of one; 0 where it is none,
    2 where only the run knows. mixed: as in `logits_behind`.
    """
    making = _logits(output, (of_softmax, of_log_softmax), mixed)
    return 0 if making is None else making.classes


class _Replay:
    """Copies of a tail's nodes that read the logits, each made once."""

    def __init__(self, graph: ir.Graph, contrast: Contrast | None) -> None:
        self.graph, self.contrast = graph, contrast
        self.part = "logits" if contrast is None else "contrast"
        self.copies: dict[ir.Node, list[ir.Value]] = {}

    def copy(self, value: ir.Value, inputs: Sequence[ir.Value | None]) -> ir.Value:
        """What the value's node makes of other inputs in its place."""
        node = value.producer()
        assert node is not None
        made = self._appended(node, node.domain, node.op_type, inputs, node.attributes)
        return made[node.outputs.index(value)]

    def inside(self, body: ir.Graph) -> _Replay:
        """The same in a body."""
        return _Replay(body, self.contrast)

    def negated(self, node: ir.Node, logits: ir.Value) -> ir.Value:
        """−logits, in place of the node that makes 1 − p."""
        return self._appended(node, "", "Neg", [logits], {})[0]

    def _appended(
        self,
        node: ir.Node,
        domain: str,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, ir.Attr],
    ) -> list[ir.Value]:
        if node not in self.copies:
            props = provenance(node.name or node.op_type, self.part)
            values = [
                ir.Value(name=f"lrp/{like.name}/{self.part}", shape=like.shape, type=like.type)
                for like in node.outputs
            ]
            name = f"lrp/{node.name}/{self.part}"
            append_node(self.graph, op_type, inputs, values, name, attributes, domain, props)
            self.copies[node] = values
        return self.copies[node]


class _Making(NamedTuple):
    """How the logits behind a value are made in its layout."""

    of: Callable[[_Replay], ir.Value]
    classes: int = 0
    """How many a softmax is over; 0 if there is none, 2 where only the run knows."""


def _making(own: Logits) -> _Making:
    """How relevance starts at logits."""
    if (axis := own.axis) is None:
        return _Making(lambda replay: own.x)
    size = 2 if own.x.shape is None else own.x.shape[axis]

    def contrasted(replay: _Replay) -> ir.Value:
        if replay.contrast is None:
            return own.x
        return replay.contrast(replay.graph, own.x, axis)

    return _Making(contrasted, size if isinstance(size, int) else 2)


Leaf = Callable[[ir.Value | None], Logits | None]


def _logits(value: ir.Value | None, leaves: Sequence[Leaf], mixed: bool = False) -> _Making | None:
    """How the logits behind a value are made; None if it is no probability.

    leaves: what each knows as one, and the logits of it. mixed: as in `logits_behind`.
    """
    node = None if value is None else value.producer()
    if value is None or node is None:
        return None
    if (own := next(filter(None, (leaf(value) for leaf in leaves)), None)) is not None:
        return _making(own) if _alike(own.x, value) else None
    if moves(node):
        inner = _logits(node.inputs[0], leaves, mixed)
        return inner and inner._replace(
            of=lambda replay: replay.copy(value, [inner.of(replay), *node.inputs[1:]])
        )
    if (same := same_value(node) or renormalized(value)) is not None:
        return _logits(same, leaves, mixed)
    if (other := complement(value)) is not None and _alike(other, value):
        positive = _logits(other, (of_sigmoid,))
        return positive and _Making(lambda replay: replay.negated(node, positive.of(replay)))
    if node.op_type in CONTROL and not node.domain:
        return _inside(value, node, leaves, mixed)
    if not inputs_by(value, "Concat"):
        return None
    return _mixed(value, node, leaves) if mixed else _beside(value, node)


def _beside(value: ir.Value, concat: ir.Node) -> _Making | None:
    """The logits of sigmoids side by side."""
    parts = []
    for probability in concat.inputs:
        part = _logits(probability, (of_sigmoid,))
        if part is None:
            return None
        parts.append(part)
    return _Making(lambda replay: replay.copy(value, [part.of(replay) for part in parts]))


def _mixed(value: ir.Value, concat: ir.Node, leaves: Sequence[Leaf]) -> _Making | None:
    """The logits of those that are probabilities, beside the others as they are."""
    parts = [(x, _logits(x, leaves, True)) for x in concat.inputs]
    made = [part for _, part in parts if part is not None]
    if not made:
        return None
    return _Making(
        lambda replay: replay.copy(value, [p.of(replay) if p else x for x, p in parts]),
        max(part.classes for part in made),
    )


def _inside(value: ir.Value, node: ir.Node, leaves: Sequence[Leaf], mixed: bool) -> _Making | None:
    """The logits of what the bodies of a node hand out as it is, or step by step."""
    place, ports, bodies = node.outputs.index(value), ports_of(node), bodies_of(node)
    if place < len(ports.states):
        return None  # the next step reads it
    results = [body.outputs[ports.outputs[place]] for body in bodies]
    parts = [_logits(result, leaves, mixed) for result in results]
    made = [part for part in parts if part is not None]
    if len(made) < len(parts):
        return None

    def handed_out(replay: _Replay) -> ir.Value:
        inner = [part.of(replay.inside(body)) for part, body in zip(made, bodies, strict=True)]
        return hand_out(node, value, inner, f"lrp/{value.name}/{replay.part}")

    return _Making(handed_out, max(part.classes for part in made))


def _alike(x: ir.Value, value: ir.Value) -> bool:
    """Whether no constant of a higher rank has given the value another shape."""
    return x.shape is None or value.shape is None or len(x.shape) == len(value.shape)
