"""Linear models of ai.onnx.ml: relevance is w·x in closed form, labels stay the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from models import assert_close, run
from onnx import TensorProto, helper

import lrp_onnx
from lrp_onnx.errors import UnsupportedError

RNG = np.random.default_rng(11)
ML = "ai.onnx.ml"
X = RNG.standard_normal((5, 4)).astype(np.float32)
W = RNG.standard_normal((3, 4)).astype(np.float32)
B = RNG.standard_normal(3).astype(np.float32)
EPSILON = 1e-6


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object):
    domain = (
        ML if op_type in {s.name for s in onnx.defs.get_all_schemas() if s.domain == ML} else ""
    )
    return helper.make_node(op_type, inputs, outputs, domain=domain, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    outputs: Mapping[str, object],
    constants: Mapping[str, np.ndarray] | None = None,
    inputs: Mapping[str, Sequence[object]] | None = None,
) -> onnx.ModelProto:
    shapes = inputs or {"x": ["N", 4]}
    types = {k: v if isinstance(v, onnx.TypeProto) else helper.make_tensor_type_proto(v, None)
             for k, v in outputs.items()}  # fmt: skip
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()],
        [helper.make_value_info(k, v) for k, v in types.items()],
        [onnx.numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def classifier(w: np.ndarray, b: np.ndarray, post: str, labels: Sequence[object] = (0, 1, 2)):
    name = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_ints"
    given = {name: list(labels), "post_transform": post}
    return node("LinearClassifier", ["x"], ["label", "y"], coefficients=w.ravel().tolist(),
                intercepts=b.tolist(), **given)  # fmt: skip


def closed_form(x: np.ndarray, w: np.ndarray, b: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """w_i·x_i·z/(z ± ε) for the chosen class of each sample."""
    w, z = w[chosen], (x @ w.T + b)[np.arange(len(x)), chosen]
    return w * x * (z / (z + EPSILON * np.where(z >= 0, 1, -1)))[:, None]


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("labels", [(0, 1, 2), ("a", "b", "c")])
def test_classifier_in_closed_form(post: str, labels: Sequence[object]) -> None:
    kind = TensorProto.STRING if isinstance(labels[0], str) else TensorProto.INT64
    proto = model([classifier(W, B, post, labels)], {"label": kind, "y": TensorProto.FLOAT})
    found = run(lrp_onnx.compile(proto, composite="epsilon", start="logit").model, {"x": X})
    own = run(proto, {"x": X})
    assert (found["label"] == own["label"]).all()
    assert_close(found["y"], own["y"], 1e-7)
    assert_close(found["x_relevance"], closed_form(X, W, B, (X @ W.T + B).argmax(1)))


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_one_row_for_two_classes(post: str, target: int) -> None:
    w, b = W[:1], B[:1]
    proto = model([classifier(w, b, post, (0, 1))],
                  {"label": TensorProto.INT64, "y": TensorProto.FLOAT})  # fmt: skip
    found = run(lrp_onnx.compile(proto, composite="epsilon", target=target).model, {"x": X})
    other = -b if post == "LOGISTIC" else 1 - b
    both = np.concatenate([-w, w]), np.concatenate([other, b])
    scores = X @ both[0].T + both[1]
    expected = 1 / (1 + np.exp(-scores)) if post == "LOGISTIC" else scores
    assert_close(found["y"], expected)
    assert_close(found["x_relevance"], closed_form(X, *both, np.full(5, target)))


def test_probit_is_refused() -> None:
    proto = model(
        [classifier(W, B, "PROBIT")], {"label": TensorProto.INT64, "y": TensorProto.FLOAT}
    )
    with pytest.raises(UnsupportedError, match=r"LinearClassifier\): its post_transform PROBIT"):
        lrp_onnx.compile(proto)


@pytest.mark.parametrize("targets", [1, 3])
def test_regressor_in_closed_form(targets: int) -> None:
    w, b = W[:targets], B[:targets]
    regressor = node("LinearRegressor", ["x"], ["y"], coefficients=w.ravel().tolist(),
                     intercepts=b.tolist(), targets=targets)  # fmt: skip
    proto = model([regressor], {"y": TensorProto.FLOAT})
    found = run(lrp_onnx.compile(proto, composite="epsilon", target=0).model, {"x": X})
    assert_close(found["y"], X @ w.T + b)
    assert_close(found["x_relevance"], closed_form(X, w, b, np.zeros(5, int)))


def test_scaler_is_of_the_layer_behind_it() -> None:
    """StandardScaler, then a linear model: the features are standardized ones."""
    offset, scale = RNG.standard_normal(4), RNG.uniform(0.5, 2, 4)
    scaler = node("Scaler", ["x"], ["s"], offset=offset.tolist(), scale=scale.tolist())
    linear = classifier(W, B, "NONE")
    linear.input[0] = "s"
    proto = model([scaler, linear], {"label": TensorProto.INT64, "y": TensorProto.FLOAT})
    found = run(lrp_onnx.compile(proto, composite="epsilon").model, {"x": X})
    s = ((X - offset) * scale).astype(np.float32)
    assert_close(found["x_relevance"], closed_form(s, W, B, (s @ W.T + B).argmax(1)))


NORMS = {"MAX": lambda x: x.max(1), "L1": lambda x: np.abs(x).sum(1),
         "L2": lambda x: np.sqrt((x * x).sum(1))}  # fmt: skip


@pytest.mark.parametrize("norm", NORMS)
def test_normalizer_passes(norm: str) -> None:
    """The norm is held constant: relevance goes to the numerator alone; a row of zeros stays."""
    x = np.concatenate([X, np.zeros((1, 4), np.float32)])
    made = node("LinearRegressor", ["n"], ["y"], coefficients=W[0].tolist(), intercepts=[0.5])
    proto = model([node("Normalizer", ["x"], ["n"], norm=norm), made], {"y": TensorProto.FLOAT})
    found = run(lrp_onnx.compile(proto, composite="epsilon").model, {"x": x})
    length = NORMS[norm](x)
    n = x / np.where(length == 0, 1, length)[:, None]
    assert_close(found["y"], n @ W[:1].T + 0.5)
    assert_close(found["x_relevance"], closed_form(n, W[:1], np.float32([0.5]), np.zeros(6, int)))


@pytest.mark.parametrize("missing", [np.nan, 7.0])
def test_imputed_features_get_nothing(missing: float) -> None:
    x = X.copy()
    x[1, 2] = x[3, 0] = missing
    imputer = node("Imputer", ["x"], ["i"], imputed_value_floats=[1.0, 2.0, 3.0, 4.0],
                   replaced_value_float=missing)  # fmt: skip
    made = node("LinearRegressor", ["i"], ["y"], coefficients=W[0].tolist(), intercepts=[0.5])
    proto = model([imputer, made], {"y": TensorProto.FLOAT})
    found = run(lrp_onnx.compile(proto, composite="epsilon").model, {"x": x})
    i, given = X.copy(), np.ones_like(X)
    i[1, 2], i[3, 0], given[1, 2], given[3, 0] = 3.0, 1.0, 0, 0
    expected = closed_form(i, W[:1], np.float32([0.5]), np.zeros(5, int)) * given
    assert_close(found["x_relevance"], expected)


def test_features_are_put_together_and_chosen() -> None:
    nodes = [
        node("FeatureVectorizer", ["a", "b"], ["v"], inputdimensions=[2, 3]),
        node("ArrayFeatureExtractor", ["v", "chosen"], ["c"]),
        node("LinearRegressor", ["c"], ["y"], coefficients=W[0].tolist(), intercepts=[0.5]),
    ]
    inputs = {"a": ["N", 2], "b": ["N", 3]}
    chosen = np.array([[4, 0, 2, 2]])
    proto = model(nodes, {"y": TensorProto.FLOAT}, {"chosen": chosen}, inputs)
    feeds = {k: RNG.standard_normal((5, s[1])).astype(np.float32) for k, s in inputs.items()}
    found = run(lrp_onnx.compile(proto, composite="epsilon").model, feeds)
    v = np.concatenate([feeds["a"], feeds["b"]], 1)
    parts = closed_form(v[:, chosen[0]], W[:1], np.float32([0.5]), np.zeros(5, int))
    whole = np.zeros_like(v)
    for k, column in enumerate(chosen[0]):
        whole[:, column] += parts[:, k]
    assert_close(np.concatenate([found["a_relevance"], found["b_relevance"]], 1), whole)


@pytest.mark.parametrize("output", [None, "maps"])
@pytest.mark.parametrize("labels", [(0, 1, 2), ("a", "b", "c")])
def test_maps_stay_the_output(labels: Sequence[object], output: str | None) -> None:
    """ZipMap behind the probabilities: these are explained, the maps are the model's."""
    text = isinstance(labels[0], str)
    name = "classlabels_strings" if text else "classlabels_int64s"
    zipped = node("ZipMap", ["y"], ["maps"], **{name: list(labels)})
    kind = TensorProto.STRING if text else TensorProto.INT64
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(kind, value))
    proto = model([classifier(W, B, "SOFTMAX", labels), zipped], {"label": kind, "maps": maps})
    compiled = lrp_onnx.compile(proto, composite="epsilon", output=output, start="logit")
    assert [o.name for o in compiled.model.graph.output] == ["label", "maps", "x_relevance"]
    assert compiled.model.graph.output[1].type == maps
    result = lrp_onnx.Explainer(compiled)(X)
    assert result.outputs["maps"] == run(proto, {"x": X})["maps"]
    expected = closed_form(X, W, B, (X @ W.T + B).argmax(1))
    assert_close(result.relevance["x"], expected)


def tree() -> onnx.NodeProto:
    return node("TreeEnsembleRegressor", ["h"], ["y"], n_targets=1, nodes_treeids=[0, 0, 0],
                nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0.0, 0.0],
                nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0],
                nodes_falsenodeids=[2, 0, 0], target_treeids=[0, 0], target_nodeids=[1, 2],
                target_ids=[0, 0], target_weights=[1.0, 2.0])  # fmt: skip


def support_vectors() -> onnx.NodeProto:
    return node("SVMRegressor", ["h"], ["y"], kernel_type="RBF", kernel_params=[0.5, 0.0, 3.0],
                support_vectors=[0.1, 0.2, 0.3, 0.4], coefficients=[1.0], rho=[0.1],
                n_supports=1)  # fmt: skip


@pytest.mark.parametrize(
    ("made", "reason"),
    [(tree(), "a tree is constant between its thresholds"),
     (support_vectors(), "a kernel machine compares")],
    ids=["tree", "svm"],
)  # fmt: skip
def test_what_has_no_layers_is_refused(made: onnx.NodeProto, reason: str) -> None:
    proto = model([node("Relu", ["x"], ["h"]), made], {"y": TensorProto.FLOAT})
    run(proto, {"x": X})
    with pytest.raises(UnsupportedError, match=rf"ai\.onnx\.ml\.{made.op_type}\): {reason}"):
        lrp_onnx.compile(proto)


def test_maps_made_of_a_tree_are_what_is_refused() -> None:
    zipped = node("ZipMap", ["y"], ["maps"], classlabels_int64s=[0])
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, value))
    proto = model([node("Relu", ["x"], ["h"]), tree(), zipped], {"maps": maps})
    with pytest.raises(UnsupportedError, match=r"TreeEnsembleRegressor\): a tree is constant"):
        lrp_onnx.compile(proto)


CATEGORIES = """<ir_version: 10, opset_import: ["" : 18, "ai.onnx.ml" : 3]>
    g (float[N,1] age, string[N,1] sex, string[N,1] size, int64[N,1] stars) => (float[N,1] y)
    <float[6,1] w = {0.5, 2.0, -3.0, 0.25, 1.0, 4.0}> {
        sexes = ai.onnx.ml.OneHotEncoder <cats_strings = ["female", "male"]> (sex)
        flat = Flatten(sexes)
        code = ai.onnx.ml.LabelEncoder
            <keys_strings = ["small", "large"], values_int64s = [1, 2], default_int64 = 0> (size)
        number = Cast <to = 1> (code)
        stars_of = ai.onnx.ml.OneHotEncoder <cats_int64s = [1, 2]> (stars)
        flat_stars = Flatten(stars_of)
        row = Concat <axis = 1> (age, flat, number, flat_stars)
        y = MatMul(row, w)
    }"""


def test_a_category_gets_what_the_numbers_that_stand_for_it_get() -> None:
    rows = {
        "age": np.array([[30.0], [4.0]], np.float32),
        "sex": np.array([["male"], ["female"]], object),
        "size": np.array([["small"], ["large"]], object),
        "stars": np.array([[2], [1]], np.int64),
    }
    compiled = lrp_onnx.compile(onnx.parser.parse_model(CATEGORIES), composite="epsilon")
    assert not compiled.warnings  # made-up rows hold categories that the encoders know
    found = run(compiled.model, rows)
    own = {"age": [15, 2], "sex": [-3, 2], "size": [0.25, 0.5], "stars": [4, 1]}
    for name, relevance in own.items():
        assert_close(found[f"{name}_relevance"], np.array(relevance, np.float32)[:, None], 1e-5)
    assert_close(found["y"], np.array([[16.25], [5.5]], np.float32), 1e-6)


def test_texts_that_no_rule_reaches_are_named() -> None:
    text = (
        CATEGORIES.replace(
            "= Flatten(sexes)",
            "= Flatten(sexes)\n        odd = "
            'StringNormalizer <case_change_action = "LOWER"> (name)',
        )
        .replace("string[N,1] sex,", "string[N] name, string[N,1] sex,")
        .replace("float[6,1] w = {0.5,", "float[8,1] w = {7.0, 7.0, 0.5,")
        .replace("(age, flat,", "(names, age, flat,")
        .replace(
            "        row =",
            """
        of_name = ai.onnx.ml.OneHotEncoder <cats_strings = ["ann", "bob"]> (odd)
        names = Flatten(of_name)
        row =""",
        )
    )
    compiled = lrp_onnx.compile(onnx.parser.parse_model(text), composite="epsilon", check=False)
    assert any("input 'name': texts, which relevance is not taken to" in w
               for w in compiled.warnings)  # fmt: skip
    assert "name_relevance" not in {v.name for v in compiled.model.graph.output}
