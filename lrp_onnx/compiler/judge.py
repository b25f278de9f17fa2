"""What runs a model to judge it: ONNX Runtime, without its own rewriting of graphs so that two
models round alike.

Where it lacks a float64 kernel (Conv has none) it runs both models in float32, which takes seconds
where onnx's reference evaluator takes minutes; that one is left for opsets and operators that it
does not know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from lrp_onnx.errors import InputError, ModelError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.limits import Budget, limited
from lrp_onnx.graph.session import CPU, Runtime
from lrp_onnx.graph.subgraphs import proto_graphs

__all__ = ["Judge", "judge", "run_plain"]

DTYPES = ("to", "dtype", "output_datatype", "stash_type")
"""Attributes that name an element type."""


class Judge(Protocol):
    """What runs a model to judge it."""

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Outputs by name."""


class _Reference:
    """onnx's reference evaluator behind the interface of `Runtime`."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        try:
            self.evaluator = ReferenceEvaluator(proto)
        except (NotImplementedError, TypeError, ValueError, KeyError) as e:
            raise ModelError(f"onnx's reference evaluator cannot take the model: {e}.") from e
        self.outputs = tuple(self.evaluator.output_names)

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Outputs by name; InputError with the evaluator's reason."""
        wanted = self.outputs if names is None else tuple(names)
        try:
            with np.errstate(all="ignore"):
                values = self.evaluator.run(list(wanted), dict(feeds))
        except (
            NotImplementedError,
            TypeError,
            ValueError,
            KeyError,
            IndexError,
            RuntimeError,
        ) as e:
            raise InputError(f"onnx's reference evaluator cannot run the model: {e}.") from e
        return dict(zip(wanted, values, strict=True))


class _Single:
    """A model of float64 in float32."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        single = onnx.ModelProto.FromString(proto.SerializeToString())
        for graph in proto_graphs(single.graph):
            _to_single(graph)
        self.runtime = Runtime(single.SerializeToString(), [CPU], plain=True)
        self.outputs = self.runtime.outputs

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Outputs by name, those of float64 in float32."""
        single = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in feeds.items()}
        with np.errstate(over="ignore"):
            return self.runtime.run(single, names)


class _Limited:
    """A model that is run in another process, under a budget."""

    def __init__(self, form: str | bytes, plain: bool, budget: Budget) -> None:
        self.form, self.plain, self.budget = form, plain, budget

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Outputs by name; OverBudget where it takes too long."""
        step = "a run of the model on made-up input"
        return limited(self.budget, step, _judged, self.form, self.plain, dict(feeds), names)


def run_plain(
    form: str | bytes, feeds: Mapping[str, Array], names: Sequence[str], budget: Budget | None
) -> dict[str, Array]:
    """The outputs of these names by ONNX Runtime alone, under the budget if there is one;
    ModelError where it does not take the model.
    """
    if budget is None:
        return Runtime(form, [CPU], plain=True).run(feeds, names)
    step = "a run of the explanation on made-up input"
    return limited(budget, step, run_plain, form, dict(feeds), names, None)


def _judged(
    form: str | bytes, plain: bool, feeds: Mapping[str, Array], names: Sequence[str] | None
) -> dict[str, Array]:
    return judge(form, plain).run(feeds, names)


def judge(form: str | bytes, plain: bool = True, budget: Budget | None = None) -> Judge:
    """The first that takes the model: ONNX Runtime on the CPU, the same in float32, the reference
    evaluator; ModelError with the runtime's reason.  With a budget it runs in another process,
    where that is found out by the run.
    """
    if budget is not None:
        return _Limited(form, plain, budget)
    try:
        return Runtime(form, [CPU], plain)
    except ModelError as e:
        proto = onnx.load(form) if isinstance(form, str) else onnx.load_from_string(form)
        for other in (_Single, _Reference) if _has_doubles(proto.graph) else (_Reference,):
            with contextlib.suppress(ModelError, ValueError):
                return other(proto)
        raise e


def _has_doubles(graph: GraphProto) -> bool:
    return any(v.type.tensor_type.elem_type == TensorProto.DOUBLE for v in graph.input)


def _to_single(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    tensors = [a.t for n in graph.node for a in n.attribute if a.type == AttributeProto.TENSOR]
    for tensor in (*graph.initializer, *tensors):
        if tensor.data_type == TensorProto.DOUBLE:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in DTYPES and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
