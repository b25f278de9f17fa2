"""A case of onnx's operator tests as a model to explain.

Every float output is joined into one vector `y`, so that one seed weighs them all; inputs that are
sequences or optional become tensors that the model puts together.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case import node as onnx_cases
from onnx.reference.ops import op_pool_common
from slopes import Point, smooth_point

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
          "Multinomial"}  # fmt: skip


STRUCTURAL = ("scales", "depth")
"""Float inputs that say how large the output is: constants, as in exported models.  So is the ratio
of a Dropout."""
JOINED = "conformance_of_all"


MODULES = [info.name.removeprefix(f"{onnx_cases.__name__}.")
           for info in pkgutil.walk_packages(onnx_cases.__path__, f"{onnx_cases.__name__}.")
           if not info.ispkg]  # fmt: skip
"""Modules of onnx's cases, one for each operator or so."""


@cache
def cases(module: str) -> list[Any]:
    """The cases of one module, as onnx makes them when it is imported: once in a process.

    Nobody looks at the results that they state, those of pools would take long; nor at their
    source, which onnx cuts out for its documentation.
    """
    before = len(onnx_cases._NodeTestCases)
    with (
        warnings.catch_warnings(),
        patch.object(op_pool_common, "pool", _unpooled),
        patch("inspect.getsource", return_value=NO_SOURCE),
    ):
        warnings.simplefilter("ignore")  # they overflow and divide by zero on purpose
        importlib.import_module(f"{onnx_cases.__name__}.{module}")
    return onnx_cases._NodeTestCases[before:]


NO_SOURCE = "@staticmethod\ndef export() -> None:\n    pass\n"


def _unpooled(x: Any, shape: Any, kernel: Any, strides: Any, out: Any, *_: Any, **__: Any) -> Any:
    """Zeros of the shape and type of a pool's result."""
    return np.zeros((*shape[:2], *out), x.dtype)


@dataclass
class Joined:
    """The case's model with the output `y`, and its feeds."""

    model: onnx.ModelProto
    feeds: dict[str, Any]
    floats: list[str] = field(default_factory=list)
    """The float inputs."""
    differentiable: bool = True

    def point(self, name: str, coarse: bool = False) -> Point:
        """Where it is smooth, drawn by the case's name; coarse is enough to see it move.

        A function written out has that of the case before it, which calls the function.
        """
        name = name.partition("_expanded")[0]
        if (name, coarse) in _LAST and _LAST[name, coarse][0].asks_the_same_as(self):
            return _LAST[name, coarse][1]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        point = smooth_point(self.model, self.feeds, self.floats, JOINED, rng, coarse)
        _LAST.clear()
        _LAST[name, coarse] = self, point
        return point

    def asks_the_same_as(self, other: Joined) -> bool:
        """Whether the inputs have the same names, types and values, and the outputs those names."""
        a, b = ({k: np.asarray(v) for k, v in j.feeds.items()} for j in (self, other))
        outputs, others = ([v.name for v in j.model.graph.output] for j in (self, other))
        same = [*a] == [*b] and outputs == others
        return same and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


_LAST: dict[tuple[str, bool], tuple[Joined, Point]] = {}
"""The last case that was differentiated, and where."""


def is_float(t: onnx.TypeProto) -> bool:
    return t.HasField("tensor_type") and t.tensor_type.elem_type in FLOATS


def array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value if isinstance(value, list) or value is None else np.asarray(value)


def joined(case: Any) -> Joined:
    """The case with its float outputs in one vector and nothing but tensors for inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 18))
    inputs, outputs = case.data_sets[0]
    given = [v for v in model.graph.input if v.name]
    feeds: dict[str, Any] = {}
    before: list[onnx.NodeProto] = []
    declared: list[onnx.ValueInfoProto] = []
    for value, data in zip(given, map(array, inputs), strict=True):
        for v, d in _tensors(value, data, before):
            declared.append(v)
            feeds[v.name] = d
    random = any(n.op_type in RANDOM or _drops(n, feeds) for n in model.graph.node)
    ratios = {n.input[1] for n in model.graph.node if n.op_type == "Dropout" and len(n.input) > 1}
    for v in [v for v in declared if v.name in STRUCTURAL or v.name in ratios]:
        declared.remove(v)
        model.graph.initializer.append(numpy_helper.from_array(feeds.pop(v.name), v.name))
    del model.graph.input[:]
    model.graph.input.extend(declared)
    nodes = [*before, *model.graph.node]
    parts, dtypes = [], []
    for value, data in zip(list(model.graph.output), map(array, outputs), strict=True):
        for name, t in _results(value, data, nodes):
            parts.append(name)
            dtypes.append(t)
    common = TensorProto.DOUBLE if TensorProto.DOUBLE in dtypes else TensorProto.FLOAT
    flat = []
    for k, (name, t) in enumerate(zip(parts, dtypes, strict=True)):
        nodes.append(
            helper.make_node("Reshape", [name, "conformance_all"], [f"flat_{k}"], f"flat_{k}")
        )
        if t != common:
            nodes.append(
                helper.make_node("Cast", [f"flat_{k}"], [f"cast_{k}"], f"cast_{k}", to=common)
            )
        flat.append(nodes[-1].output[0])
    if flat:
        nodes.append(helper.make_node("Concat", flat, ["all_of_it"], "all_of_it", axis=0))
        # relevance would start before a Softmax at the end
        nodes.append(helper.make_node("Neg", ["all_of_it"], [JOINED], JOINED))
        whole = numpy_helper.from_array(np.array([-1]), "conformance_all")
        nodes.insert(
            0, helper.make_node("Constant", [], ["conformance_all"], "conformance_all", value=whole)
        )
        kept = [v for v in model.graph.output if v.type.HasField("tensor_type")]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        model.graph.output.append(helper.make_tensor_value_info(JOINED, common, None))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    floats = [v.name for v in declared if is_float(v.type)]
    return Joined(model, feeds, floats, bool(floats and flat) and not random)


def _drops(node: onnx.NodeProto, feeds: dict[str, Any]) -> bool:
    """Whether it is a Dropout that draws what it drops."""
    if node.op_type != "Dropout" or len(node.input) < 3:
        return False
    ratio, training = (feeds.get(name, 1) for name in node.input[1:])
    return bool(np.any(training) and np.any(ratio))


def _tensors(
    value: onnx.ValueInfoProto, data: Any, nodes: list[onnx.NodeProto]
) -> Iterator[tuple[onnx.ValueInfoProto, Any]]:
    """The tensors that an input is made of; the nodes that make it."""
    t = value.type
    if t.HasField("tensor_type"):
        yield value, data
        return
    optional = t.HasField("optional_type")
    inner = t.optional_type.elem_type if optional else t
    name = value.name
    made = f"{name}_inner" if optional else name
    if data is None:
        nodes.append(helper.make_node("Optional", [], [name], f"make_{name}", type=inner))
        return
    if inner.HasField("sequence_type"):
        element = inner.sequence_type.elem_type.tensor_type.elem_type
        names = [f"{name}_{k}" for k in range(len(data))]
        for n, d in zip(names, data, strict=True):
            yield helper.make_tensor_value_info(n, element, np.shape(d)), d
        op = "SequenceConstruct" if names else "SequenceEmpty"
        attributes = {} if names else {"dtype": element}
        nodes.append(helper.make_node(op, names, [made], f"make_{made}", **attributes))
    else:
        if isinstance(data, list):
            (data,) = data
        made = f"{name}_inner"
        source = made if optional else name
        yield (
            helper.make_tensor_value_info(source, inner.tensor_type.elem_type, np.shape(data)),
            data,
        )
    if optional:
        nodes.append(helper.make_node("Optional", [made], [name], f"make_{name}"))


def _results(
    value: onnx.ValueInfoProto, data: Any, nodes: list[onnx.NodeProto]
) -> Iterator[tuple[str, int]]:
    """The float tensors that an output holds."""
    t = value.type
    if is_float(t):
        yield value.name, t.tensor_type.elem_type
        return
    if t.HasField("tensor_type"):
        return
    name = value.name
    if t.HasField("optional_type"):
        t = t.optional_type.elem_type
        nodes.append(helper.make_node("OptionalGetElement", [name], [f"{name}_got"], f"{name}_got"))
        name = f"{name}_got"
    if t.HasField("tensor_type"):
        if t.tensor_type.elem_type in FLOATS:
            yield name, t.tensor_type.elem_type
        return
    element = t.sequence_type.elem_type.tensor_type.elem_type
    if element not in FLOATS:
        return
    for k in range(len(data)):
        at = f"{name}_at_{k}"
        constant = numpy_helper.from_array(np.array(k), at)
        nodes.append(
            helper.make_node("Constant", [], [f"{at}_index"], f"{at}_index", value=constant)
        )
        nodes.append(helper.make_node("SequenceAt", [name, f"{at}_index"], [at], at))
        yield at, element
