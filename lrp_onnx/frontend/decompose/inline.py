"""The nodes of a body in the place of a node that runs it: SequenceMap, and Loop over sequences."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.known import LONGEST, constant, elements, is_sequence
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import bodies_of

__all__: list[str] = []

Value = ir.Value | None


def _inlined(build: Build, body: ir.Graph, inputs: Sequence[Value]) -> list[Value]:
    """The body's nodes, reading `inputs`, among those that are built; returns its outputs."""
    copy = body.clone(allow_outer_scope_values=True)
    replacements: dict[Value, Value] = dict(zip(copy.inputs, inputs, strict=True))
    for name, value in list(copy.initializers.items()):
        assert value.const_value is not None
        replacements[value] = build.constant(value.const_value.numpy(), value.const_value.dtype)
        del copy.initializers[name]
    results = [replacements.get(v, v) for v in copy.outputs]
    copy.outputs.clear()
    for old, new in replacements.items():
        for user, position in list(old.uses()) if old is not None else ():
            user.replace_input_with(position, new)
    nodes = list(copy)
    copy.remove(nodes)
    for node in nodes:
        node.name = f"{build.prefix}/{node.name or node.op_type}"
    build.nodes += nodes
    return results


@decomposes("SequenceMap")
def sequence_map(build: Build, node: ir.Node) -> Sequence[Value]:
    """The body once for each element of known sequences.  Spec: ONNX SequenceMap-17."""
    first, *others = node.inputs
    leading = elements(build, first)
    (body,) = bodies_of(node)
    columns = [elements(build, v) if is_sequence(v) else [v] * len(leading) for v in others]
    results = [_inlined(build, body, row) for row in zip(leading, *columns, strict=True)]
    if not results:
        raise UnsupportedError("its sequence is empty")
    return [build.op("SequenceConstruct", *column) for column in zip(*results, strict=True)]


@decomposes("Loop")
def unrolled(build: Build, node: ir.Node) -> Sequence[Value] | None:
    """A Loop that carries sequences, as often as it runs.  Spec: ONNX Loop-16."""
    trips, condition, *carried = node.inputs
    (body,) = bodies_of(node)
    if not any(map(is_sequence, (*carried, *body.inputs))):
        return None
    if not (_true(condition) and _goes_on(body)):
        raise UnsupportedError("whether it goes on is only known at run time")
    (count,) = constant(trips, "how often it runs")
    if count > LONGEST:
        raise UnsupportedError(f"it runs {count} times over sequences")
    written: list[list[Value]] = []
    for k in range(count):
        inputs = [build.constant(k), build.constant(True, ir.DataType.BOOL), *carried]
        _, *results = _inlined(build, body, inputs)
        carried = results[: len(carried)]
        written.append(results[len(carried) :])
    axis = build.ints(0)
    if not written and len(node.outputs) > len(carried):
        raise UnsupportedError("it never runs")
    stacked = [
        build.op("Concat", *(build.op("Unsqueeze", v, axis) for v in column), axis=0)
        for column in zip(*written, strict=True)
    ]
    return [*carried, *stacked]


def _goes_on(body: ir.Graph) -> bool:
    """Whether the condition that a body gives is the one it gets, or true."""
    value: Value = body.outputs[0]
    while value is not None and (node := value.producer()) is not None:
        if node.op_type != "Identity":
            break
        value = node.inputs[0]
    return value is body.inputs[1] or _true(value, absent=False)


def _true(value: Value, absent: bool = True) -> bool:
    if value is None:
        return absent
    return value.const_value is not None and bool(value.const_value.numpy().all())
