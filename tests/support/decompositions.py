"""One node of an operator that is decomposed, as a model."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx
from onnx import helper, numpy_helper

Array = np.ndarray
MS = "com.microsoft"


@dataclass
class Row:
    """One node: operator, inputs in order, attributes.

    A tuple is the shape of an input of the model, a list that of random constants; an array is a
    constant as given, except `Run(array)`, an integer input of the model; None leaves an optional
    input out.  Behind the first output is a Neg: of a Sigmoid at the end relevance would start at
    its input.  `outputs` names those it has, "" for one left out; `symbolic` are the axes of the
    inputs of the model that are left open.
    """

    op: str
    inputs: Sequence[object]
    attributes: Mapping[str, object] = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    domain: str = MS
    opset: int = 18
    symbolic: Sequence[int] = (0, 1)
    label: str = ""
    dtype: str = "float32"

    def __str__(self) -> str:
        given = [f"{k}={v}" for k, v in self.attributes.items()]
        return "-".join([self.op, *given, *([self.label] if self.label else [])]).replace(" ", "")

    @cached_property
    def values(self) -> dict[str, Array]:
        """Every input by name."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        found = {}
        for k, given in enumerate(self.inputs):
            if isinstance(given, Run):
                found[f"i{k}"] = given.array
            elif isinstance(given, tuple | list):
                found[f"i{k}"] = rng.standard_normal(tuple(given)).astype(self.dtype)
            elif given is not None:
                found[f"i{k}"] = np.asarray(given)
        return found

    @cached_property
    def feeds(self) -> dict[str, Array]:
        """The inputs of the model."""
        fed = {f"i{k}" for k, v in enumerate(self.inputs) if isinstance(v, tuple | Run)}
        return {k: v for k, v in self.values.items() if k in fed}

    @property
    def floats(self) -> dict[str, Array]:
        """The inputs of the model that differences can be taken of."""
        return {k: v for k, v in self.feeds.items() if v.dtype.kind == "f"}

    def model(self) -> onnx.ModelProto:
        names = ["" if v is None else f"i{k}" for k, v in enumerate(self.inputs)]
        inner = [f"{self.outputs[0]}/own", *self.outputs[1:]]
        nodes = [
            helper.make_node(self.op, names, inner, self.op, domain=self.domain, **self.attributes),
            helper.make_node("Neg", inner[:1], self.outputs[:1], "behind"),
        ]
        outputs = [o for o in self.outputs if o]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [self.info(k, v) for k, v in self.feeds.items()],
            [helper.make_tensor_value_info(o, self.element(o), None) for o in outputs],
            [numpy_helper.from_array(v, k) for k, v in self.values.items() if k not in self.feeds],
        )
        domains = dict.fromkeys(["", self.domain])
        opsets = [helper.make_opsetid(d, self.opset if d == "" else 1) for d in domains]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def element(self, output: str) -> int:
        dtype = np.dtype("int32" if output.startswith("count") else self.dtype)
        return helper.np_dtype_to_tensor_dtype(dtype)

    def info(self, name: str, value: Array) -> onnx.ValueInfoProto:
        shape = [f"axis{k}_{n}" if k in self.symbolic else n for k, n in enumerate(value.shape)]
        element = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, element, shape)


@dataclass(frozen=True)
class Run:
    """An integer input of the model."""

    array: Array


X, ROW = (2, 3, 8), [8]


def ints(*values: object) -> Run:
    return Run(np.array(values, np.int32))


def long(given: Run) -> Run:
    return Run(given.array.astype(np.int64))
