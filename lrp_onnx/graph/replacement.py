"""Writing the nodes that stand for another one, in the same graph and named under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.annotations import CHANGED
from lrp_onnx.graph.attributes import attribute_key
from lrp_onnx.graph.constants import SMALL, loose_constant, new_constant
from lrp_onnx.graph.shapes import infer

__all__ = ["Build", "Written", "attribute", "take_place"]

Input = ir.Value | None


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of an attribute, `default` where it is absent."""
    known = node.attributes.get(name)
    return default if known is None else known.value


def take_place(old: ir.Value, new: ir.Value, left: str = "replaced") -> None:
    """`new` gets the readers, the type, the shape and the name of `old`, which is left under
    another name, and what is noted of its content.
    """
    name, new.type, new.shape = old.name, old.type, old.shape
    if CHANGED in old.meta:
        new.meta[CHANGED] = old.meta[CHANGED]
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = f"{name}/{left}", name


Written = dict[Any, tuple[ir.Value, ...]]
"""The results of nodes by what they compute from what."""


def _operand_key(value: Input) -> Any:
    """What tells an operand from others: small constants by what they hold."""
    tensor = None if value is None else value.const_value
    if tensor is None or tensor.nbytes > SMALL:
        return value
    return tensor.dtype, tuple(tensor.shape.numpy()), tensor.tobytes()


class Build:
    """Collects the nodes that will stand for `node`; constants become initializers of `root`."""

    def __init__(
        self,
        root: ir.Graph | None,
        node: ir.Node,
        part: str = "",
        opset: int = 0,
        written: Written | None = None,
    ) -> None:
        """With no `root` for the nodes of a body, which gets `constants` as its initializers.

        written: what stands earlier in the graph, and is not written again.
        """
        self.root, self.node, self.opset, self.written = root, node, opset, written
        self.constants: list[ir.Value] = []
        self.prefix = "/".join(filter(None, (node.name or node.op_type, part)))
        self.nodes: list[ir.Node] = []

    def op(self, op_type: str, *inputs: Input, **attributes: Any) -> ir.Value:
        """Add one standard node; returns its only output. Absent inputs are None."""
        return self.outputs(op_type, 1, *inputs, **attributes)[0]

    def outputs(
        self,
        op_type: str,
        count: int,
        *inputs: Input,
        domain: str = "",
        named: str | None = None,
        like: ir.Value | None = None,
        **attributes: Any,
    ) -> tuple[ir.Value, ...]:
        """Add one node with `count` outputs.

        named: the node's name. like: what the outputs have type and shape of, where these do not
        follow from the inputs.
        """
        operands = list(inputs)
        while operands and operands[-1] is None:
            operands.pop()
        key = (
            domain,
            op_type,
            count,
            tuple(map(_operand_key, operands)),
            attribute_key(attributes),
        )
        if self.written is not None and key in self.written:
            return self.written[key]
        # a prefix of its own keeps names apart; NameFixPass makes them unique
        name = f"{self.prefix}/{op_type}_{len(self.nodes)}"
        node = ir.Node(
            domain,
            op_type,
            operands,
            attributes=ir.convenience.convert_attributes(attributes),
            num_outputs=count,
            name=named or name,
            metadata_props=dict(self.node.metadata_props),
        )
        for k, value in enumerate(node.outputs):
            value.name = f"{name}:{k}"
            if like is not None:
                value.type, value.shape = like.type, like.shape
        if like is None and not domain:
            infer(node, attributes)
        self.nodes.append(node)
        if self.written is not None:
            self.written[key] = tuple(node.outputs)
        return tuple(node.outputs)

    def copy(
        self,
        node: ir.Node,
        inputs: Sequence[Input],
        like: ir.Value | None = None,
        named: str | None = None,
    ) -> tuple[ir.Value, ...]:
        """Add a node like another one that reads other inputs."""
        same: dict[str, Any] = {**node.attributes, "domain": node.domain}
        same |= {"like": like, "named": named}
        return self.outputs(node.op_type, len(node.outputs), *inputs, **same)

    def explained(self, y: ir.Value, z: ir.Value) -> ir.Value:
        """y in the forward, z to the explanation: `lrp::ExplainedBy`.

        A decomposition that returns it for the node's own output keeps the node.
        """
        return self.op("ExplainedBy", y, z, domain="lrp")

    def constant(
        self, array: ArrayLike, dtype: ir.DataType = ir.DataType.INT64, part: str = "constant"
    ) -> ir.Value:
        """An initializer holding `array` as `dtype`."""
        if self.root is not None:
            number = "" if part != "constant" else f"_{len(self.root.initializers)}"
            return new_constant(self.root, f"{self.prefix}/{part}{number}", array, dtype)
        name = f"{self.prefix}/{part}_{len(self.constants)}"
        self.constants.append(loose_constant(name, array, dtype))
        return self.constants[-1]

    def ints(self, *values: int) -> ir.Value:
        """A one-dimensional int64 constant: axes, shapes, starts."""
        return self.constant(np.array(values, np.int64))

    def like(self, number: float, value: ir.Value | None) -> ir.Value:
        """A scalar in the element type of `value`; UnsupportedError where that is unknown."""
        if value is None or value.dtype is None:
            raise UnsupportedError("the element type of its input is unknown")
        return self.constant(number, value.dtype)

    def insert_before(self, node: ir.Node) -> None:
        """Put what was collected in front of a node."""
        assert node.graph is not None
        node.graph.insert_before(node, self.nodes)

    def replace(self, value: ir.Value) -> None:
        """`value` takes the place of the node's only output, and the node goes."""
        assert isinstance(self.node.graph, ir.Graph)
        self.insert_before(self.node)
        take_place(self.node.outputs[0], value)
        self.node.graph.remove(self.node, safe=True)

    def replace_all(self, nodes: Sequence[ir.Node], value: ir.Value) -> None:
        """`value` takes the place of the output that the nodes, the node's among them, are there
        for; those that are read elsewhere stay.
        """
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        self.insert_before(self.node)
        take_place(self.node.outputs[0], value)
        for node in nodes[::-1]:
            if not any(v.uses() or v.is_graph_output() for v in node.outputs):
                graph.remove(node, safe=True)
