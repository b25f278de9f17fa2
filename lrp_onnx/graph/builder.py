"""Writing nodes into the graph: names, provenance, constants, the dtype of relevance, shapes.

Every emitted node is named `lrp/<forward node>/<part>` and carries `lrp.source` and `lrp.rule`.
The same operation on the same values is emitted once.  Relevance is computed in at least float32:
half-precision values are cast where they enter an emitted node, so that no operator has to think of
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.annotations import OF, OWNER, RULE
from lrp_onnx.graph.attributes import attribute_key, attribute_of
from lrp_onnx.graph.constants import loose_constant
from lrp_onnx.graph.dialect import DIALECT
from lrp_onnx.graph.dtypes import HALF, compute_dtype
from lrp_onnx.graph.shapes import inferred, static_shape, type_of
from lrp_onnx.runtimes import RUNTIMES, Runtime

__all__ = ["Emit", "Input"]

Input = ir.Value | float | None

RELEVANCE_TYPES = tuple(map(ir.TensorType, (ir.DataType.FLOAT, ir.DataType.DOUBLE)))


class Emit:
    """Appends nodes to `graph`; `owner` and `rule` say on whose behalf."""

    def __init__(
        self,
        graph: ir.Graph,
        optimize: bool = True,
        runtime: Runtime = RUNTIMES["portable"],
    ) -> None:
        self.graph = graph
        self.optimize = optimize
        """Whether products, facts and shared convolutions are used, or the rules as they stand."""
        self.runtime = runtime
        self.opset = graph.opset_imports.get("", 21)
        self.owner = ""
        self.rule = ""
        self.dtype = ir.DataType.FLOAT
        self.signs: dict[ir.Value, int] = {}
        """+1: proven ≥ 0, -1: proven ≤ 0."""
        self.classes: dict[ir.Value, ir.Value] = {}
        """Of a mask that is 0 but for one of at least two elements along its last axis: which one,
        of the mask's shape with that axis 1, or a constant scalar.
        """
        self.ends: dict[ir.Node, list[int | ir.Value]] = {}
        """Where the inputs of a Concat end along its axis, behind a 0, as far as they were asked
        for: each is a sum of all sizes before it.
        """
        self.refused: dict[ir.Node, str] = {}
        """Nodes that relevance cannot go through, and why."""
        self._before: ir.Node | None = None
        self._emitted: dict[Any, tuple[ir.Value, ...]] = {}
        self._constants_of: dict[ir.Graph, dict[Any, ir.Value]] = {graph: {}}
        self._names: Counter[str] = Counter()
        self._taken = {v.name for v in (*graph.inputs, *graph.initializers.values())}
        self._taken |= {v.name for node in graph for v in node.outputs}

    def inside(self, body: ir.Graph) -> Emit:
        """One that appends to a body around which this one's graph lies; names stay apart."""
        inner = Emit(body, self.optimize, self.runtime)
        inner.opset = self.opset
        inner.signs, inner._names, inner._taken = self.signs, self._names, self._taken
        inner.owner, inner.rule, inner.dtype = self.owner, self.rule, self.dtype
        inner.refused, inner._constants_of = self.refused, self._constants_of
        inner._constants_of.setdefault(body, {})
        return inner

    def as_rules_stand(self) -> Emit:
        """One that appends the rules as they stand to the same graph; names stay apart."""
        plain = self.inside(self.graph)
        plain.optimize, plain.classes = False, self.classes
        return plain

    def write_for(self, like: ir.Value, owner: str | None = None, rule: str | None = None) -> None:
        """Write from now on in the dtype of the relevance of `like`, on behalf of `owner` under
        `rule`; what is None stays as it is.
        """
        self.dtype = compute_dtype(like.dtype)
        self.owner = self.owner if owner is None else owner
        self.rule = self.rule if rule is None else rule

    def at(self, node: ir.Node, rule: str) -> None:
        """Write from now on for the forward node `node` under `rule`."""
        known = node.metadata_props.get(OWNER)  # a copy says whose it is
        self.write_for(node.outputs[0], known or node.name or node.op_type, rule)

    @contextmanager
    def on_behalf_of(self, node: ir.Node, rule: str) -> Iterator[None]:
        """Write for another forward node for a while."""
        before = self.owner, self.rule, self.dtype
        self.at(node, rule)
        try:
            yield
        finally:
            self.owner, self.rule, self.dtype = before

    def op(self, op_type: str, *inputs: Input, **attributes: Any) -> ir.Value:
        """Emit one node; numbers become constants of the current dtype. Returns its first
        output.
        """
        return self.outputs(op_type, inputs, attributes)[0]

    def outputs(
        self,
        op_type: str,
        inputs: tuple[Input, ...],
        attributes: dict[str, Any],
        count: int = 1,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        """Emit one node with `count` outputs."""
        values = [
            self.constant(v) if isinstance(v, int | float) else self.at_least_float(v)
            for v in inputs
        ]
        while values and values[-1] is None:
            values.pop()
        if op_type.startswith("Reduce") and len(values) > 1:
            values[1] = self._counted_from_the_front(values[0], values[1])
        key = (domain, op_type, count, tuple(values), attribute_key(attributes))
        if key not in self._emitted:
            node = self._add(domain, op_type, values, attributes, count)
            self._emitted[key] = tuple(node.outputs)
            if not domain:
                node.outputs[0].shape = inferred(op_type, values, attributes)
                node.outputs[0].type = type_of(op_type, values, attributes)
        return self._emitted[key]

    def dialect(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        like: Sequence[ir.Value],
        of: Any = None,
        **attributes: Any,
    ) -> tuple[ir.Value, ...]:
        """Emit one node of the dialect `lrp` (see `dialect`), whose operands stay as they are.

        like: of what each output has the shape, and the relevance. of: what the node stands for.
        """
        key = (DIALECT, op_type, self.optimize, id(of), tuple(inputs), attribute_key(attributes))
        if key not in self._emitted:
            self._emitted[key] = self.relevance(op_type, inputs, like, of, **attributes)
        return self._emitted[key]

    def relevance(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        like: Sequence[ir.Value],
        of: Any = None,
        **attributes: Any,
    ) -> tuple[ir.Value, ...]:
        """The same, a node of its own however many are equal."""
        if not self.optimize:
            attributes["plain"] = 1
        node = self._add(DIALECT, op_type, inputs, attributes, len(like))
        node.meta[OF] = of
        for value, original in zip(node.outputs, like, strict=True):
            value.shape = original.shape
            value.type = RELEVANCE_TYPES[original.dtype == ir.DataType.DOUBLE]
        return tuple(node.outputs)

    def _add(
        self,
        domain: str,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any],
        count: int,
    ) -> ir.Node:
        """A new node in front of the one that is written out, else at the end."""
        node = ir.Node(
            domain,
            op_type,
            inputs,
            [attribute_of(k, v) for k, v in attributes.items()],
            outputs=[ir.Value(name=self.fresh("lrp")) for _ in range(count)],
            name=self._node_name(op_type),
            metadata_props={OWNER: self.owner, RULE: self.rule},
        )
        if self._before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self._before, node)
        return node

    def forget(self) -> None:
        """Emit anew what stands later in the graph than what is written from now on."""
        self._emitted.clear()

    def remember(self, node: ir.Node) -> None:
        """The same operation on the same values, emitted from now on, is this node."""
        key = (node.domain, node.op_type, len(node.outputs), tuple(node.inputs),
               attribute_key(node.attributes))  # fmt: skip
        self._emitted.setdefault(key, tuple(node.outputs))

    def write_before(self, node: ir.Node | None, on_behalf_of: ir.Node | None = None) -> None:
        """Write in front of a node from now on, on its behalf or on that of another; at the end for
        None.
        """
        self._before = node
        owner = node if on_behalf_of is None else on_behalf_of
        if owner is None:
            return
        self.optimize = "plain" not in owner.attributes
        self.owner, self.rule = owner.metadata_props[OWNER], owner.metadata_props[RULE]
        self.dtype = compute_dtype(owner.outputs[0].dtype)

    def _counted_from_the_front(self, value: ir.Value, axes: ir.Value) -> ir.Value:
        """Constant axes as they are from the first: ONNX Runtime 1.31 ignores those that are
        counted from the last if the tensor is empty.
        """
        if value.shape is None or axes.const_value is None:
            return axes
        numbers = axes.const_value.numpy()
        return self.ints(*(numbers % len(value.shape)).tolist()) if (numbers < 0).any() else axes

    def total(self, parts: Sequence[ir.Value], shape: Sequence[Any] | None = None) -> ir.Value:
        """The sum of tensors of one shape, which is told to runtimes if it is known: ONNX Runtime
        adds to a convolution in place only where it knows that both shapes are the same.
        """
        c, *others = [self.shaped(part, shape) for part in parts]
        for other in others:
            c = self.op("Add", c, other)
        return c

    def shaped(self, value: ir.Value, like: ir.Value | ir.Shape | Sequence[Any] | None) -> ir.Value:
        """The value, known to have the shape of another, or these sizes, if they are known."""
        shape = like.shape if isinstance(like, ir.Value) else like
        if shape is not None:
            value.shape = shape if isinstance(shape, ir.Shape) else ir.Shape(shape)
        return value

    def at_least_float(self, value: Input) -> Any:
        """A half-precision value cast to float32; everything else as it is."""
        if isinstance(value, ir.Value) and value.dtype in HALF:
            cast = self.outputs_of_cast(value, ir.DataType.FLOAT)
            if value in self.signs:
                self.signs[cast] = self.signs[value]
            return cast
        return value

    def in_compute_dtype(self, value: ir.Value | None) -> ir.Value | None:
        """`value` in the dtype of the node's relevance, for operands that may have another, such
        as an exponent.
        """
        if value is None or value.dtype in (None, self.dtype, *HALF):
            return value
        return self.outputs_of_cast(value, self.dtype)

    def outputs_of_cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`value` cast to `dtype`, once."""
        key = ("", "Cast", 1, (value,), attribute_key({"to": int(dtype)}))
        if key not in self._emitted:
            node = self._add("", "Cast", [value], {"to": int(dtype)}, 1)
            self.shaped(node.outputs[0], value).type = ir.TensorType(dtype)
            self._emitted[key] = tuple(node.outputs)
        return self._emitted[key][0]

    def constant(self, value: Any, dtype: ir.DataType | None = None) -> ir.Value:
        """An initializer holding `value` in the current dtype, or in `dtype`; the same constant is
        the same value.
        """
        array = np.asarray(value, dtype=(dtype or self.dtype).numpy())
        key = (array.dtype.str, array.shape, array.tobytes())
        known = self._constants_of[self.graph]
        if key not in known:
            known[key] = loose_constant(self.fresh("lrp/constant"), array, dtype or self.dtype)
            self.graph.register_initializer(known[key])
            if array.size and (array >= 0).all():
                self.signs[known[key]] = 1
        return known[key]

    def ints(self, *values: int) -> ir.Value:
        """A one-dimensional int64 constant: axes, shapes, starts."""
        return self.constant(np.array(values, dtype=np.int64), ir.DataType.INT64)

    def shape_of(self, value: ir.Value) -> ir.Value:
        """The shape as a tensor: a constant where it is known."""
        shape = static_shape(value)
        return self.op("Shape", value) if shape is None else self.ints(*shape)

    def dimension(self, value: ir.Value, axis: int) -> ir.Value:
        """The size along one axis as a tensor of shape [1]."""
        size = value.shape[axis] if value.shape is not None else None
        if isinstance(size, int):
            return self.ints(size)
        return self.op("Shape", value, start=axis, end=axis + 1 or None)

    def reshape_like(self, value: ir.Value, reference: ir.Value) -> ir.Value:
        """`value` in the shape of `reference`, with a constant shape where at most one dimension is
        unknown.
        """
        shape = [d if isinstance(d, int) else -1 for d in reference.shape or [None, None]]
        empty = 0 in shape and -1 not in shape
        constant = empty or (shape.count(-1) <= 1 and 0 not in shape)
        wanted = self.ints(*shape) if constant else self.shape_of(reference)
        # a 0 would be a copied size
        out = self.op("Reshape", value, wanted, **({"allowzero": 1} if empty else {}))
        return self.shaped(out, reference)

    def fresh(self, prefix: str) -> str:
        """A name that no tensor of the graph or of its bodies has."""
        while True:
            self._names[prefix] += 1
            name = f"{prefix}_{self._names[prefix]}"
            if name not in self._taken:
                return name

    def _node_name(self, op_type: str) -> str:
        name = f"lrp/{self.owner}/{op_type}"
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}_{self._names[name]}"
