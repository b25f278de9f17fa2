"""Where relevance starts: every target form, against numpy on a model whose relevance is its
start.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

import lrp_onnx
from lrp_onnx.errors import InputError, ModelError, TargetError

# Neg passes relevance on, so the relevance of x is the starting relevance itself.
MODEL = """<ir_version: 8, opset_import: ["":18]>
g (float[{shape}] x) => (float[{shape}] y) {{ y = Neg(x) }}"""

Y2 = np.array([[1.0, 3.0, -2.0], [0.5, -1.0, 0.25]], np.float32)
Y3 = np.array([[[1.0, 3.0], [4.0, 2.0]], [[0.0, -1.0], [-3.0, -2.0]]], np.float32)
Y4 = Y3[:, :, None, :]


def run(y, target="argmax", start="logit", feeds=None, **request):
    shape = ",".join(["N", *map(str, y.shape[1:])]) if y.ndim else ""
    model = onnx.parser.parse_model(MODEL.format(shape=shape))
    compiled = lrp_onnx.compile(model, "epsilon", target=target, start=start, **request)
    onnx.checker.check_model(compiled.model, full_check=True)
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["x_relevance"], {"x": -y, **(feeds or {})})[0]


def one_hot(y, index, axis):
    mask = np.zeros_like(y)
    np.put_along_axis(mask, np.asarray(index), 1, axis)
    return mask


def classes_of(y, k, axis):
    mask = np.zeros_like(y)
    mask[(slice(None),) * axis + (k,)] = 1
    return mask


def entry_of(y, *place):
    mask = np.zeros_like(y)
    mask[(slice(None), *place)] = 1
    return mask


MASKS = {
    "argmax-2d": (Y2, "argmax", {}, one_hot(Y2, [[1], [0]], 1)),
    "index-2d": (Y2, 2, {}, classes_of(Y2, 2, 1)),
    "index-as-text": (Y2, "2", {}, classes_of(Y2, 2, 1)),
    "difference": (Y2, "1-0", {}, classes_of(Y2, 1, 1) - classes_of(Y2, 0, 1)),
    "all": (Y2, "all", {}, np.ones_like(Y2)),
    "max": (Y3, "max", {}, (Y3.max((1, 2), keepdims=True) == Y3).astype(np.float32)),
    "argmax-3d-last": (Y3, "argmax", {}, one_hot(Y3, Y3.argmax(2)[:, :, None], 2)),
    "argmax-3d-axis-1": (Y3, "argmax", {"class_axis": 1}, one_hot(Y3, Y3.argmax(1)[:, None], 1)),
    "argmax-3d-negative-axis": (
        Y3,
        "argmax",
        {"class_axis": -2},
        one_hot(Y3, Y3.argmax(1)[:, None], 1),
    ),
    "argmax-4d": (Y4, "argmax", {}, one_hot(Y4, Y4.argmax(1)[:, None], 1)),
    "entry": (Y3, "1,0", {}, entry_of(Y3, 1, 0)),
    "entry-with-blanks": (Y3, " 1 , 0 ", {}, entry_of(Y3, 1, 0)),
    "entry-as-tuple": (Y3, (1, 0), {}, entry_of(Y3, 1, 0)),
    "entry-summed": (Y3, ":,0", {}, entry_of(Y3, slice(None), 0)),
    "entry-summed-as-tuple": (Y3, (1, slice(None)), {}, entry_of(Y3, 1, slice(None))),
    "entry-4d": (Y4, "1,:,1", {}, entry_of(Y4, 1, slice(None), 1)),
    "entry-of-everything": (Y4, ":,:,:", {}, np.ones_like(Y4)),
    "entry-beside-a-class-axis": (Y3, "0,1", {"class_axis": 1}, entry_of(Y3, 0, 1)),
    "class-as-tuple": (Y2, (2,), {}, classes_of(Y2, 2, 1)),
    "one-class": (Y2[:, 0], "argmax", {}, np.ones_like(Y2[:, 0])),
    "one-class-0": (Y2[:, 0], 0, {}, np.ones_like(Y2[:, 0])),
    "ties-first": (np.ones_like(Y2), "argmax", {}, classes_of(Y2, 0, 1)),
    "max-ties-first": (np.ones_like(Y2), "max", {}, classes_of(Y2, 0, 1)),
}


@pytest.mark.parametrize("start", ["logit", "one"])
@pytest.mark.parametrize(("y", "target", "request_", "mask"), MASKS.values(), ids=MASKS)
def test_start_is_mask_times_output(y, target, request_, mask, start):
    expected = mask * y if start == "logit" else mask
    np.testing.assert_array_equal(run(y, target, start, **request_), expected)


def test_scalar_output_has_one_class():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["":18]>
        g (float[3] x) => (float y) { y = ReduceSum<keepdims=0>(x) }"""
    )
    compiled = lrp_onnx.compile(model, "epsilon")
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, r = session.run(None, {"x": np.array([1, 2, 4], np.float32)})
    np.testing.assert_allclose(r, [1, 2, 4], rtol=1e-5)
    assert y == 7


def test_target_input_chooses_a_class_per_sample():
    chosen = np.array([2, 0], np.int64)
    expected = one_hot(Y2, chosen[:, None], 1) * Y2
    np.testing.assert_array_equal(run(Y2, "input", feeds={"target": chosen}), expected)


def test_seed_is_a_graph_input_shaped_like_the_output():
    seed = np.array([[1, 0, 2], [0.5, 0, 0]], np.float32)
    np.testing.assert_array_equal(run(Y2, "seed", feeds={"y_seed": seed}), seed * Y2)
    np.testing.assert_array_equal(run(Y2, "seed", "one", feeds={"y_seed": seed}), seed)


REFUSED = {
    "class-too-large": (Y2, 3, "has 3 classes"),
    "difference-too-large": (Y2, "0-9", "has 3 classes"),
    "difference-with-itself": (Y2, "1-1", "two different classes"),
    "unknown": (Y2, "best", "unknown"),
    "negative": (Y2, -1, "unknown"),
    "one-class-1": (Y2[:, 0], 1, "one class"),
    "entry-too-large": (Y3, "1,2", "index 2 is out of range along axis 2"),
    "entry-of-few": (Y4, "1,2", r"2 indices, and output 'y' of shape .* needs 3"),
    "entry-with-a-batch": (Y3, "0,1,0", "axis 0 counts the samples"),
    "entry-of-words": (Y3, "1,x", "unknown"),
    "entry-negative": (Y3, "-1,0", "unknown"),
    "entry-of-floats": (Y3, "1.5,0", "unknown"),
    "top-too-many": (Y2, "top-4", "has 3 classes"),
    "top-nothing": (Y2, "top-0", "unknown"),
    "top-of-one-class": (Y2[:, 0], "top-2", "one class"),
}


@pytest.mark.parametrize(("y", "target", "fact"), REFUSED.values(), ids=REFUSED)
def test_a_target_that_does_not_exist_is_refused(y, target, fact):
    with pytest.raises(TargetError, match=fact):
        run(y, target)


NO_BATCH = {
    "1,0": (1, 0),
    ":,1": (slice(None), 1),
    "3,:": (3, slice(None)),
}


@pytest.mark.parametrize("shape", ["4,2", "A,2", "A,B"])
@pytest.mark.parametrize("target", NO_BATCH)
def test_an_entry_of_an_output_without_a_batch(target, shape):
    """Its axis 0 is none of the input's, which is one sample."""
    text = MODEL.replace("[{shape}] x", "[1,8] x").format(shape=shape)
    text = text.replace("y = Neg(x)", "n = Neg(x) y = Reshape(n, s)").replace(
        ") {", f") <int64[2] s = {{{4},{2}}}> {{"
    )
    compiled = lrp_onnx.compile(onnx.parser.parse_model(text), "epsilon", target=target)
    assert compiled.graph.metadata_props["lrp.target"] == target
    x = np.arange(1, 9, dtype=np.float32)[None]
    found = lrp_onnx.Explainer(compiled)(x).relevance["x"].reshape(4, 2)
    expected = np.zeros((4, 2), np.float32)
    expected[NO_BATCH[target]] = x.reshape(4, 2)[NO_BATCH[target]]
    np.testing.assert_array_equal(found, -expected)


def test_an_entry_of_open_sizes_is_checked_where_the_sizes_are_known():
    text = MODEL.format(shape="N,T,K")
    compiled = lrp_onnx.compile(onnx.parser.parse_model(text), "epsilon", target="1,2")
    (warning,) = compiled.warnings
    assert "does not say how long axis 1, 2 is" in warning
    explainer = lrp_onnx.Explainer(compiled)
    x = np.ones((2, 2, 3), np.float32)
    np.testing.assert_array_equal(explainer(x).relevance["x"] != 0, entry_of(x, 1, 2))
    with pytest.raises(InputError, match="index 2 is out of range along axis 2"):
        explainer(x[:, :, :2])
    with pytest.raises(InputError, match="index 1 is out of range along axis 1"):
        explainer(x[:, :1])


@pytest.mark.parametrize("method", ["gradient", "integrated-gradients"])
def test_a_gradient_is_that_of_the_entry(method):
    model = onnx.parser.parse_model(MODEL.format(shape="N,T,K"))
    compiled = lrp_onnx.compile(model, method=method, target="1,2")
    x = np.full((2, 2, 3), 2, np.float32)
    r = lrp_onnx.Explainer(compiled)(x).relevance["x"]
    np.testing.assert_allclose(r, entry_of(x, 1, 2) * (-1 if method == "gradient" else -2))


def test_a_class_axis_that_does_not_exist_is_refused():
    with pytest.raises(TargetError, match="class axis 2"):
        run(Y2, class_axis=2)


def test_an_unknown_start_is_refused():
    with pytest.raises(TargetError, match=r"start 'zero'.*one\.$"):
        run(Y2, start="zero")
    with pytest.raises(TargetError, match=r"start '21\.5'.*: --reference 21\.5\.$"):
        run(Y2, start="21.5")


CLASH = """<ir_version: 8, opset_import: ["":18]>
g (float[N,3] x) => (float[N,3] y) <float[1] y_seed = {{2.0}}>
{{ {inner} = Mul(x, y_seed) y = Neg({inner}) }}"""


@pytest.mark.parametrize(("inner", "target"), [("x_relevance", "all"), ("target", "input")])
def test_inner_tensors_make_room_for_the_names_of_the_signature(inner, target):
    model = onnx.parser.parse_model(CLASH.format(inner=inner))
    before = model.SerializeToString()
    for kind in (target, "seed"):
        compiled = lrp_onnx.compile(model, "epsilon", target=kind, relevance_at=inner)
        onnx.checker.check_model(compiled.model, full_check=True)
        outputs = [o.name for o in compiled.model.graph.output]
        assert outputs == ["y", "x_relevance", f"{inner}_relevance"]
    assert model.SerializeToString() == before


def test_an_output_that_has_the_name_of_the_target_is_refused():
    text = CLASH.replace(" y", " target").format(inner="h")
    with pytest.raises(TargetError, match="input 'target': the model already has"):
        lrp_onnx.compile(onnx.parser.parse_model(text), "epsilon", target="input")


def test_a_compiled_model_is_refused():
    model = onnx.parser.parse_model(MODEL.format(shape="N,3"))
    with pytest.raises(ModelError, match="already computes relevance"):
        lrp_onnx.compile(lrp_onnx.compile(model, "epsilon").model, output="y")


def test_an_output_that_depends_on_nothing():
    text = "g () => (float[2] y) { y = RandomNormal<shape=[2]>() }"
    with pytest.raises(TargetError, match="no input reaches it"):
        lrp_onnx.compile(
            onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
        )
