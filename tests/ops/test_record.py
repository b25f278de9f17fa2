"""One record is all that the compiler needs of an operator: an invented one does everything."""

from __future__ import annotations

import dataclasses
from importlib import import_module

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.defs import OpSchema
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import lrp_onnx
from lrp_onnx.analysis.sample_independence import batch_size, independent
from lrp_onnx.analysis.signs import signs
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph import negative_sizes, shapes
from lrp_onnx.ops.bounds import same_sign
from lrp_onnx.ops.registry import REGISTRY, record
from lrp_onnx.ops.samples import by_shape

DOMAIN, NAME = "test", "Halve"
KEY = (DOMAIN, NAME)
fold = import_module("lrp_onnx.frontend.normalize.fold")
evaluation = import_module("lrp_onnx.graph.evaluation")


class Halve(OpRun):
    """What it computes."""

    op_domain = DOMAIN

    def _run(self, x):
        return (np.asarray(x / 2, x.dtype),)


def reference(model):
    return ReferenceEvaluator(model, new_ops=[Halve])


def halve(emit, node, s, i):
    """s / 2."""
    return emit.op("Mul", s, 0.5)


@pytest.fixture(autouse=True)
def operator(monkeypatch):
    """Its record; onnx is told its shape and its meaning, as it knows those of the standard."""
    facts = {"sign": same_sign, "samples_apart": by_shape, "folds": True}
    halving = record(NAME, "scale", domain=DOMAIN, vjp=halve, **facts)
    monkeypatch.setitem(REGISTRY, KEY, halving)
    monkeypatch.setattr(evaluation, "ReferenceEvaluator", reference)
    x, y = OpSchema.FormalParameter("x", "T"), OpSchema.FormalParameter("y", "T")
    constraints = [("T", ["tensor(float)"], "")]
    schema = OpSchema(NAME, DOMAIN, 1, inputs=[x], outputs=[y], type_constraints=constraints)
    schema.set_type_and_shape_inference_function(
        lambda context: context.set_output_type(0, context.get_input_type(0))
    )
    onnx.defs.register_schema(schema)
    yield
    onnx.defs.deregister_schema(NAME, 1, DOMAIN)


def model():
    """y = halve(relu(x) · halve(4)), whose batch only the run knows."""
    nodes = [
        helper.make_node(NAME, ["four"], ["two"], "constant", domain=DOMAIN),
        helper.make_node("Relu", ["x"], ["positive"], "relu"),
        helper.make_node("Mul", ["positive", "two"], ["scaled"], "scale"),
        helper.make_node(NAME, ["scaled"], ["y"], "halve", domain=DOMAIN),
    ]
    x, y = (helper.make_tensor_value_info(v, TensorProto.FLOAT, ["n", 3]) for v in "xy")
    four = numpy_helper.from_array(np.full(3, 4, np.float32), "four")
    graph = helper.make_graph(nodes, "g", [x], [y], [four])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


X = np.float32([[1, -2, 3], [-1, 5, 2]])


def relevance(method):
    """That of each sample's largest output."""
    compiled = lrp_onnx.compile(model(), method=method, check=False)
    outputs = reference(compiled.model).run(None, {"x": X})
    names = [v.name for v in compiled.model.graph.output]
    return dict(zip(names, outputs, strict=True))["x_relevance"]


def graph_of(source):
    """The graph with inferred shapes, as analyses read it."""
    return ir.from_proto(onnx.shape_inference.infer_shapes(source)).graph


def propagates():
    expected = np.float32([[0, 0, 1], [0, 1, 0]])
    return all(
        np.allclose(relevance(method), expected * weight)
        for method, weight in (("gradient", 1.0), ("lrp", X))
    )


def carries_a_sign():
    known = signs(graph_of(model()))
    return {v.name: sign for v, sign in known.items()}.get("y") == 1


def keeps_samples_apart():
    graph = graph_of(model())
    nodes = [node for node in graph if node.name != "constant"]
    return independent(nodes, graph.inputs, batch_size(graph.inputs))


def folds():
    written = ir.from_proto(onnx.shape_inference.infer_shapes(model()))
    fold.fold(written)
    two = written.graph.initializers.get("two")
    return two is not None and np.array_equal(two.const_value.numpy(), np.full(3, 2, np.float32))


USES = {
    "vjp": propagates,
    "sign": carries_a_sign,
    "samples_apart": keeps_samples_apart,
    "folds": folds,
}


@pytest.mark.parametrize("fact", USES)
def test_a_record_is_enough(fact):
    assert USES[fact]()


@pytest.mark.parametrize("fact", [fact for fact in USES if fact != "vjp"])
def test_without_the_fact_it_is_not(fact, monkeypatch):
    default = next(f.default for f in dataclasses.fields(REGISTRY[KEY]) if f.name == fact)
    monkeypatch.setitem(REGISTRY, KEY, dataclasses.replace(REGISTRY[KEY], **{fact: default}))
    others = [other for name, other in USES.items() if name != fact]
    assert not USES[fact]()
    assert all(holds() for holds in others)


def test_without_a_record_it_is_unknown(monkeypatch):
    monkeypatch.delitem(REGISTRY, KEY)
    with pytest.raises(UnsupportedError, match=r"'halve' \(test\.Halve\): .*not supported"):
        relevance("lrp")


def test_a_kind_that_is_not_declared_is_an_error():
    choosing = dataclasses.replace(REGISTRY[KEY], choose=lambda node, active: "sum")
    with pytest.raises(AssertionError, match="declares no kind 'sum'"):
        choosing.kind_of(graph_of(model())[3], (0,))
    assert choosing.kinds == ("scale",)


def test_tables_of_folders_below_the_records_agree_with_them():
    """graph/ may not import ops/: what it knows of operators is compared here."""
    windows = {o.name for o in REGISTRY.values() if o.window and o.domain == ""}
    assert windows <= negative_sizes.WINDOWS
    told = {name for name in shapes.ELEMENTWISE if REGISTRY["", name].elementwise}
    assert shapes.ELEMENTWISE - told == {"Softmax", "Round", "Sign"}  # of one shape, but no more
