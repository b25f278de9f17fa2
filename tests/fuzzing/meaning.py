"""Changes of what a model means: it stays well formed, more or less."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from fuzzing.values import NUMBERS, other_value
from onnx import TensorProto, helper, numpy_helper

__all__ = ["change_meaning"]

UNARY = (
    *("Relu", "Neg", "Abs", "Exp", "Sqrt", "Sigmoid", "Softmax", "Identity", "Shape", "Floor"),
    *("Erf", "Tanh", "Transpose", "Flatten", "ReduceMean", "ReduceSum", "Not", "Log", "Size"),
)
BINARY = (
    *("Add", "Sub", "Mul", "Div", "Pow", "MatMul", "Max", "Where", "Gather", "Concat", "Mod"),
    *("Reshape", "Expand", "Tile", "Conv", "Gemm", "Range", "Equal", "Less"),
)


def change_meaning(rng: random.Random, model: Any) -> None:
    """Another model that is well formed, more or less."""
    changes: list[Callable[[random.Random, Any], None]] = [
        other_operator, other_attribute, other_attribute, other_size, other_size, other_wire,
        node_between, open_axis, weight_as_input, input_as_weight, into_function, other_weight,
        other_type, into_branch, into_loop, other_opset,
    ]  # fmt: skip
    rng.choice(changes)(rng, model.graph if not model.graph.node else model)


def other_operator(rng: random.Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(UNARY if len(node.input) < 2 else BINARY)
    if rng.random() < 0.5:
        del node.attribute[:]


def other_attribute(rng: random.Random, model: Any) -> None:
    nodes = [n for n in model.graph.node if n.attribute]
    if not nodes:
        return
    attribute = rng.choice(rng.choice(nodes).attribute)
    if attribute.ints:
        at = rng.randrange(len(attribute.ints))
        attribute.ints[at] = rng.choice((*NUMBERS, *range(-3, 6)))
    elif attribute.HasField("i"):
        attribute.i = rng.choice((*NUMBERS, *range(-3, 6)))
    elif attribute.HasField("f"):
        attribute.f = other_value(rng, attribute.f)


def other_size(rng: random.Random, model: Any) -> None:
    values = [*model.graph.input, *model.graph.output]
    dims = rng.choice(values).type.tensor_type.shape.dim
    if not dims:
        return
    if rng.random() < 0.2:
        dims.add().dim_value = 2
    else:
        rng.choice(dims).dim_value = rng.choice((*NUMBERS, *range(6), *range(6)))


def open_axis(rng: random.Random, model: Any) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[: rng.choice((1, 1, 9))]:
            dim.dim_param = rng.choice(("N", "N", "M", ""))


def other_wire(rng: random.Random, model: Any) -> None:
    node = rng.choice(model.graph.node)
    known = [*(v.name for v in model.graph.input), *(o for n in model.graph.node for o in n.output)]
    known += [t.name for t in model.graph.initializer]
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice((*known, ""))


def node_between(rng: random.Random, model: Any) -> None:
    """A node in front of one that reads its result."""
    at = rng.randrange(len(model.graph.node))
    reader = model.graph.node[at]
    if not reader.input:
        return
    place = rng.randrange(len(reader.input))
    first, new = reader.input[place], f"between_{at}_{rng.randrange(9)}"
    op = rng.choice((*UNARY, *BINARY))
    node = type(reader)(op_type=op, input=[first, first][: 1 + (op in BINARY)], output=[new])
    reader.input[place] = new
    model.graph.node.insert(at, node)


def weight_as_input(rng: random.Random, model: Any) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    model.graph.input.append(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    )
    if rng.random() < 0.5:
        model.graph.initializer.remove(tensor)


def input_as_weight(rng: random.Random, model: Any) -> None:
    values = [v for v in model.graph.input if v.type.HasField("tensor_type")]
    if len(values) < 2:
        return
    value = rng.choice(values[1:])
    kind = value.type.tensor_type
    sizes = [d.dim_value for d in kind.shape.dim]
    if kind.elem_type in (0, 8) or not 0 < np.prod(sizes or [1]) < 10_000:
        return
    draws = np.random.default_rng(rng.randrange(99)).integers(0, 3, sizes)
    array = draws.astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    model.graph.input.remove(value)


def other_weight(rng: random.Random, model: Any) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    if len(tensor.int64_data):
        tensor.int64_data[rng.randrange(len(tensor.int64_data))] = rng.choice(NUMBERS)
    elif len(tensor.raw_data) >= 8 and tensor.data_type == 7:
        data = bytearray(tensor.raw_data)
        at = 8 * rng.randrange(len(data) // 8)
        data[at : at + 8] = rng.choice(NUMBERS).to_bytes(8, "little", signed=True)
        tensor.raw_data = bytes(data)
    elif len(tensor.dims):
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((*NUMBERS, 1, 2, 3))


def other_type(rng: random.Random, model: Any) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output])
    value.type.tensor_type.elem_type = rng.choice((0, 1, 6, 7, 9, 10, 11, 16))


def other_opset(rng: random.Random, model: Any) -> None:
    opset = rng.choice(model.opset_import)
    if rng.random() < 0.3:
        model.opset_import.add().CopyFrom(opset)
    opset.version = rng.choice((*range(6, 28), *NUMBERS[:3]))


def into_function(rng: random.Random, model: Any) -> None:
    """A node as a function of the model, which may call itself."""
    node = rng.choice(model.graph.node)
    body = type(node).FromString(node.SerializeToString())
    inputs = [n for n in dict.fromkeys(body.input) if n]
    name, nodes = f"F_{node.op_type}", [body]
    if rng.random() < 0.2:
        nodes.append(helper.make_node(name, inputs, ["again"], domain="fz"))
    opsets = [helper.make_opsetid(o.domain, o.version) for o in model.opset_import]
    model.functions.append(helper.make_function("fz", name, inputs, [*body.output], nodes, opsets))
    if not any(o.domain == "fz" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("fz", 1))
    node.op_type, node.domain = name, "fz"
    node.input[:] = inputs
    del node.attribute[:]


def into_branch(rng: random.Random, model: Any) -> None:
    """A node in both branches of an If with a constant or computed condition."""
    at = rng.randrange(len(model.graph.node))
    node = model.graph.node[at]
    inner = type(node).FromString(node.SerializeToString())
    inner.output[:] = [f"{o}_inside" if o else "" for o in node.output]
    ends = [helper.make_empty_tensor_value_info(o) for o in inner.output if o]
    graphs = [helper.make_graph([inner], name, [], ends) for name in ("yes", "no")]
    condition = helper.make_tensor("condition_of_if", TensorProto.BOOL, [], [rng.random() < 0.5])
    choice = helper.make_node("If", ["condition_of_if"], [o for o in node.output if o])
    for name, graph in zip(("then_branch", "else_branch"), graphs, strict=True):
        choice.attribute.append(helper.make_attribute(name, graph))
    model.graph.initializer.append(condition)
    model.graph.node[at].CopyFrom(choice)


def into_loop(rng: random.Random, model: Any) -> None:
    """A node over again, on its own result, a number of times."""
    at = rng.randrange(len(model.graph.node))
    node = model.graph.node[at]
    if not node.input or len(node.output) != 1 or not node.input[0]:
        return
    inner = type(node).FromString(node.SerializeToString())
    inner.input[0], inner.output[0] = "state", "next_state"
    same = helper.make_node("Identity", ["go"], ["go_on"])
    body = helper.make_graph(
        [same, inner], "again",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_empty_tensor_value_info("state")],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
         helper.make_empty_tensor_value_info("next_state")],
    )  # fmt: skip
    trips = rng.choice((0, 1, 3, 1000, 10**12))
    model.graph.initializer.extend(
        [helper.make_tensor("trips_of_loop", TensorProto.INT64, [], [trips]),
         helper.make_tensor("go_of_loop", TensorProto.BOOL, [], [True])]
    )  # fmt: skip
    loop = helper.make_node("Loop", ["trips_of_loop", "go_of_loop", node.input[0]], [*node.output])
    loop.attribute.append(helper.make_attribute("body", body))
    model.graph.node[at].CopyFrom(loop)
