"""`precision="float16"`: products with weights in half precision, near the relevance in float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import network, run

import lrp_onnx
from lrp_onnx.compiler.differences import run_in_half
from lrp_onnx.errors import CompositeError
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verdict import changed_by_half
from lrp_onnx.validate.verify import verify

NEAR = 3e-3
"""Part of max|R|: float16 rounds to 5e-4, up to ten times in a row."""
PICTURE = network(
    "z = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b) r = Relu(z) "
    "g = Conv<group=4, pads=[1,1,1,1]>(r, v) s = Relu(g) t = ConvTranspose<group=2>(s, u) "
    "a = Relu(t) f = Flatten(a) y = Gemm<alpha=0.5, transB=1>(f, d, e)",
    ("N", 2, 6, 6), w=(8, 2, 3, 3), b=(8,), v=(8, 2, 3, 3), u=(8, 2, 2, 2), d=(5, 64), e=(5,),
)  # fmt: skip
ROWS = network(
    "h = MatMul(m, x) r = Relu(h) k = MatMul(r, w) c = Add(k, b) q = Relu(k) y = MatMul(q, v)",
    ("N", 6, 4), m=(7, 6), w=(4, 5), b=(5,), v=(5, 3),
)  # fmt: skip
COMPOSITES = ("epsilon-plus-flat", "epsilon-alpha2-beta1", "gamma", "epsilon")


def pair(model, composite, **options):
    """Compiled in float32 and in float16."""
    compiled = (
        lrp_onnx.compile(model, composite, precision=precision, **options).model
        for precision in ("float32", "float16")
    )
    return tuple(compiled)


def assert_near(full, half, x):
    """The relevance of each sample is near, and the outputs are the same; returns it in half."""
    expected, actual = run(full, {"x": x}), run_in_half(ir.from_proto(half), {"x": x})
    assert np.array_equal(expected["y"], actual["y"])
    r, h = expected["x_relevance"], actual["x_relevance"]
    assert h.dtype == np.float32
    for one, other in zip(r, h, strict=True):
        assert np.abs(one - other).max() <= NEAR * np.abs(one).max()
    assert np.isfinite(h).all()
    return h


def halves(model):
    return {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("model", [PICTURE, ROWS], ids=["picture", "rows"])
def test_each_product_with_a_weight_is_half_and_near(model, composite):
    full, half = pair(model, composite)
    shape = [d.dim_value or 3 for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert_near(full, half, x)
    emitted = {name for node in half.graph.node for name in node.input} & halves(half)
    assert emitted
    assert not halves(full)
    own = {name for node in model.graph.node for name in node.output}
    whole = {t.name for t in half.graph.initializer if len(t.dims) > 1} - emitted
    for node in half.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            assert set(node.output) & own or not whole & set(node.input), node.name


@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_samples_of_any_magnitude_beside_each_other(unit):
    """Each by its own largest magnitude, far below and above what float16 knows."""
    model = network("y = MatMul(x, w)", ("N", 6), w=(6, 4))
    x = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    x[1] *= unit
    x[2] = 0
    relevance = assert_near(*pair(model, "wsquare"), x)
    assert relevance[:2].any(axis=1).all()
    assert not relevance[2].any()


@pytest.mark.parametrize("size", [1e-9, 1e7])
def test_weights_of_any_size(size):
    weights = np.random.default_rng(2).standard_normal((4, 2, 3, 3)).astype(np.float32) * size
    model = network(
        "z = Conv(x, w) r = Relu(z) f = Flatten(r) y = MatMul(f, d)",
        (1, 2, 5, 5), w=weights, d=(36, 3),
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 5)).astype(np.float32)
    assert_near(*pair(model, "epsilon-alpha2-beta1", parameters={"epsilon": 0}), x)


def test_the_files_weights_take_half():
    full, half = pair(PICTURE, "epsilon-alpha2-beta1")
    own = {t.name for t in PICTURE.graph.initializer}

    def added(model):
        return sum(len(t.raw_data) for t in model.graph.initializer if t.name not in own)

    assert added(half) < 0.75 * added(full)


def test_an_older_opset_takes_it():
    full, half = pair(PICTURE, "epsilon-plus-flat", opset=13)
    assert half.opset_import[0].version == 13
    assert_near(full, half, np.ones((2, 2, 6, 6), np.float32))


def test_where_nothing_is_half_it_is_told():
    model = network("y = Mul(x, w)", (1, 4), w=(4,))
    assert "changes nothing" in " ".join(lrp_onnx.compile(model, precision="float16").warnings)
    assert "changes nothing" not in " ".join(lrp_onnx.compile(ROWS, precision="float16").warnings)


def test_verify_says_what_it_changes():
    verdict = verify(PICTURE, CompileOptions("epsilon-plus-flat", precision="float16"))
    assert verdict.holds_fully
    assert 0 < verdict.half["x_relevance"] < NEAR
    assert verify(PICTURE, CompileOptions("epsilon-plus-flat")).half is None


def test_a_large_change_is_no_result():
    assert not changed_by_half({"x_relevance": 0.04})
    assert "changes 'x_relevance' by 0.4 of" in changed_by_half({"x_relevance": 0.4})


def test_another_word_is_refused():
    with pytest.raises(CompositeError, match="'int4' is unknown"):
        CompileOptions(precision="int4")
