"""What every compiled model promises, on small networks and every composite."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import Array, assert_close, network, run

import lrp_onnx
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.lrp.library import library
from lrp_onnx.lrp.methods import METHODS

COMPOSITES = sorted(
    f.name[:-5]
    for f in library().joinpath("composites").iterdir()
    if f.name.endswith(".toml") and f.name != "base.toml"
)
BOX = {"low": -3.0, "high": 3.0}

NETWORKS = {
    "plain": network(
        """c1 = Conv<pads=[1,1,1,1]>(x, w1, b1) r1 = Relu(c1) p1 = MaxPool<kernel_shape=[2,2],
        strides=[2,2]>(r1)
        c2 = Conv(p1, w2) r2 = Relu(c2) g = GlobalAveragePool(r2) f = Flatten(g)
        y = Gemm<transB=1>(f, w3, b3)""",
        (1, 2, 8, 8),
        w1=(4, 2, 3, 3),
        b1=(4,),
        w2=(6, 4, 3, 3),
        w3=(5, 6),
        b3=(5,),
    ),
    "residual": network(
        """c1 = Conv<pads=[1,1,1,1]>(x, w1, b1) r1 = Relu(c1) c2 = Conv<pads=[1,1,1,1]>(r1, w2, b2)
        a = Add(c2, r1) r2 = Relu(a) p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(r2) f =
        Flatten(p)
        y = Gemm<transB=1>(f, w3, b3)""",
        (1, 2, 6, 6),
        w1=(3, 2, 3, 3),
        b1=(3,),
        w2=(3, 3, 3, 3),
        b2=(3,),
        w3=(4, 27),
        b3=(4,),
    ),
}


def parameters_of(composite: str) -> dict[str, float]:
    rules = {layer.rule.name for layer in load_composite(composite).selectors}
    return BOX if "zbox" in rules else {}


def compiled(name: str, composite: str, **request: object) -> onnx.ModelProto:
    return lrp_onnx.compile(
        NETWORKS[name], composite, parameters=parameters_of(composite), **request
    ).model


def batch(name: str, size: int) -> Array:
    shape = [d.dim_value for d in NETWORKS[name].graph.input[0].type.tensor_type.shape.dim][1:]
    return np.random.default_rng(size).standard_normal((size, *shape)).astype(np.float32)


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_composite_keeps_the_contract(name, composite):
    original, model = NETWORKS[name], compiled(name, composite)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert [o.domain for o in model.opset_import] == [""]
    assert 18 <= model.opset_import[0].version <= 21
    assert model.ir_version <= 10
    assert model.graph.input == original.graph.input
    assert model.graph.output[0] == original.graph.output[0]
    relevance = model.graph.output[1]
    assert relevance.name == "x_relevance"
    assert relevance.type == original.graph.input[0].type
    emitted = [n for n in model.graph.node if n.name.startswith("lrp/")]
    assert emitted
    for node in emitted:
        assert {"lrp.source", "lrp.rule"} <= {p.key for p in node.metadata_props}

    x = batch(name, 3)
    together = run(model, {"x": x})
    assert_close(together["y"], run(original, {"x": x})["y"])
    assert np.isfinite(together["x_relevance"]).all()
    singles = [run(model, {"x": x[k : k + 1]})["x_relevance"] for k in range(3)]
    assert_close(together["x_relevance"], np.concatenate(singles), 1e-4)


SQUARE = network(
    """h = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w1, b1) a = Relu(h) g = Conv<strides=[2,2]>(a, w2)
    s = Sigmoid(g) c = Mul(g, s) d = Conv<strides=[2,2], pads=[1,1,1,1]>(c, w1) y = Sigmoid(d)""",
    (1, 4, 32, 32),
    (0, 2, 3),
    w1=(4, 4, 3, 3),
    b1=(4,),
    w2=(4, 4, 2, 2),
)
"""Its weights are square, and its sizes are free: the transposes are ConvTransposes."""
REQUESTS = (
    *({"composite": c, "parameters": parameters_of(c)} for c in COMPOSITES),
    *({"method": method} for method in METHODS if method not in ("lrp", "grad-cam")),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.get("composite") or r["method"])
def test_every_weight_is_read(request_):
    """ONNX Runtime warns of each that is not whenever it opens the file."""
    model = lrp_onnx.compile(SQUARE, target="all", **request_).model
    weights = ir.from_proto(model).graph.initializers
    assert [name for name, weight in weights.items() if not weight.uses()] == []


@pytest.mark.parametrize("composite", COMPOSITES)
def test_two_compilations_are_the_same_bytes(composite):
    first, second = (compiled("plain", composite).SerializeToString(True) for _ in range(2))
    assert first == second


BIAS_FREE = network(
    """c1 = Conv<pads=[1,1,1,1]>(x, w1) r1 = Relu(c1) p1 = MaxPool<kernel_shape=[2,2],
    strides=[2,2]>(r1) c2 = Conv<group=2>(p1, w2) r2 = Relu(c2) f = Flatten(r2) g1 =
    Gemm<transB=1>(f, w3) r3 = Relu(g1)
    y = Gemm<transB=1>(r3, w4)""",
    (1, 2, 8, 8),
    w1=(8, 2, 3, 3),
    w2=(8, 4, 3, 3),
    w3=(16, 32),
    w4=(5, 16),
)


@pytest.mark.parametrize("composite", ["epsilon", "zplus", "gamma"])
def test_relevance_of_a_bias_free_relu_network_sums_to_the_logit(composite):
    x = np.random.default_rng(0).standard_normal((4, 2, 8, 8)).astype(np.float32)
    result = run(lrp_onnx.compile(BIAS_FREE, composite).model, {"x": x})
    logit = result["y"].max(1)
    assert (logit > 0).all()
    total = result["x_relevance"].sum((1, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(total, logit, rtol=1e-4)


def test_alpha_beta_conserves_where_every_neuron_has_both_signs():
    # each output reads +h and -h/2 of the same positive input, so both shares exist everywhere
    both = np.array([[1.0, -0.5, 2.0], [-0.25, 1.0, 0.5]], np.float32)
    model = network("h = Gemm<transB=1>(x, w1) r = Relu(h) y = Gemm<transB=1>(r, w2)", (1, 3),
                    w1=both, w2=np.array([[1.0, -0.5]], np.float32))  # fmt: skip
    x = np.array([[3.0, 1.0, 2.0], [2.0, 2.0, 1.0]], np.float32)
    result = run(lrp_onnx.compile(model, "alpha2-beta1", target=0).model, {"x": x})
    np.testing.assert_allclose(result["x_relevance"].sum(1), result["y"][:, 0], rtol=1e-4)


@pytest.mark.parametrize("relevance_at", [["r1"], ["c1", "p1"]])
def test_inner_relevance_is_conserved_and_named(relevance_at):
    result = run(compiled("plain", "zplus", relevance_at=relevance_at), {"x": batch("plain", 2)})
    for name in relevance_at:
        inner = result[f"{name}_relevance"]
        assert inner.shape[0] == 2
        assert np.isfinite(inner).all()
        assert inner.any()


@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_the_opset_asked_for_is_the_opset_written(opset):
    model = compiled("plain", "epsilon-plus-flat", opset=opset)
    assert model.opset_import[0].version == opset
    onnx.checker.check_model(model, full_check=True)
    expected = run(compiled("plain", "epsilon-plus-flat"), {"x": batch("plain", 2)})
    assert_close(run(model, {"x": batch("plain", 2)})["x_relevance"], expected["x_relevance"])


def test_the_default_is_auto_and_argmax():
    given = lrp_onnx.compile(NETWORKS["plain"], "auto", target="argmax", start="auto")
    assert lrp_onnx.compile(NETWORKS["plain"]).model == given.model


def test_the_metadata_say_what_was_compiled():
    props = {p.key: p.value for p in compiled("plain", "zplus", target=2).metadata_props}
    assert props["lrp.composite"] == "zplus"
    assert props["lrp.target"] == "2"
    assert props["lrp.version"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_half_and_double_models_compile(dtype):
    elem = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = onnx.ModelProto()
    model.CopyFrom(NETWORKS["plain"])
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = elem
    del model.graph.value_info[:]
    result = lrp_onnx.compile(model, "epsilon-plus-flat", check=False).model
    onnx.checker.check_model(result, full_check=True)
    x = batch("plain", 2)
    if dtype == np.float64:  # ONNX Runtime's CPU provider has no float64 Conv
        names = [o.name for o in result.graph.output]
        values = onnx.reference.ReferenceEvaluator(result).run(None, {"x": x.astype(dtype)})
        found = dict(zip(names, values, strict=True))
    else:
        found = run(result, {"x": x.astype(dtype)})
    expected = run(compiled("plain", "epsilon-plus-flat"), {"x": x})
    assert found["x_relevance"].dtype == dtype
    tolerance = 5e-3 if dtype == np.float16 else 1e-5  # float16: the forward itself is rounded
    assert_close(found["x_relevance"], expected["x_relevance"], tolerance)


def test_an_output_without_a_shape_gets_the_inferred_one():
    model = onnx.ModelProto()
    model.CopyFrom(NETWORKS["plain"])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    found = lrp_onnx.compile(model).model
    onnx.checker.check_model(found, full_check=True)
    assert len(found.graph.output[0].type.tensor_type.shape.dim) == 2


def test_an_index_beyond_an_open_number_of_classes_is_a_warning():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["":18]> g (float[N,K] x) => (float[N,K] y) { y = Relu(x) }'
    )
    (warning,) = lrp_onnx.compile(model, target=50).warnings
    assert "does not say how many classes" in warning


def test_a_wildcard_reaches_the_layers_that_its_rule_is_for():
    report = lrp_onnx.compile(NETWORKS["plain"], rules={"*": "wsquare"}).report
    assert {r.rule for r in report if r.kind == "linear"} == {"wsquare"}
    assert {r.rule for r in report if r.kind == "activation"} == {"pass"}


def test_a_wrong_declared_shape_is_corrected():
    text = (
        '<ir_version: 8, opset_import: ["": 18]> g (float[N,4] x) => (float[1,K] y)'
        " <float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, int64[3] s = {-1,1,3}>"
        " { a = MatMul(x, w)  y = Reshape(a, s) }"
    )
    compiled = lrp_onnx.compile(onnx.parser.parse_model(text), composite="epsilon")
    (warning,) = compiled.warnings
    assert "output 'y'" in warning
    assert "[1,K]" in warning
    onnx.checker.check_model(compiled.model, full_check=True)
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    assert lrp_onnx.Explainer(compiled)(x).relevance["x"].shape == (2, 4)


def test_nodes_that_share_a_changed_weight_share_the_copy():
    text = (
        '<ir_version: 8, opset_import: ["": 18]> g (float[N,4] x) => (float[N,3] y)'
        " <float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float two = {2}> {"
        " a = MatMul(x, w)  b = Mul(a, two)  z = Neg(x)  c = MatMul(z, w)  d = Mul(c, two)"
        " u = Sin(x)  e = MatMul(u, w)  f = Add(b, d)  y = Add(e, f) }"
    )
    model = lrp_onnx.compile(onnx.parser.parse_model(text), composite="gradient").model
    weights = [tuple(t.dims) for t in model.graph.initializer if t.dims]
    assert (weights.count((4, 3)), weights.count((3, 4))) == (1, 2)


@pytest.mark.parametrize(
    "layer",
    [
        "m = MatMul(x, w)  y = Add(m, b)",
        "y = GroupNormalization<num_groups=2>(x, s, s)",
        "m = ReduceMean<axes=[-1]>(x)  d = Sub(x, m)  q = Mul(d, d)  v = ReduceMean<axes=[-1]>(q)"
        "  e = Add(v, tiny)  r = Sqrt(e)  n = Div(d, r)  y = Mul(n, b)",
    ],
    ids=["dense", "group norm", "norm"],
)  # fmt: skip
def test_names_in_the_metadata_are_those_of_the_file(layer: str) -> None:
    """Also of an output that lowering writes in other operators and that another node reads."""
    text = (
        f'<ir_version: 8, opset_import: ["": {21 if "Group" in layer else 17}]> g (float[N,4,3] x)'
        " => (float[N,4,3] y, float[N,4,3] p) <float[3,3] w = {1,2,3,4,5,6,7,8,9}, float[3] b ="
        f" {{1,2,3}}, float[4] s = {{1,2,3,4}}, float tiny = {{0.1}}> {{ {layer}  p = Softmax(y) }}"
    )
    compiled = lrp_onnx.compile(onnx.parser.parse_model(text), output="y", target="seed")
    props = {p.key: p.value for p in compiled.model.metadata_props}
    assert props["lrp.output"] == "y"
    explainer = lrp_onnx.Explainer(compiled)
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    result = explainer(x, np.ones((2, 4, 3), np.float32))
    assert set(result.outputs) == {"y", "p"}
