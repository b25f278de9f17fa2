"""The bundled digits: sizes, contract of the model, and that it names all twelve correctly."""

from importlib.resources import files

import numpy as np
import onnx
import onnxruntime
import pytest
from models import assert_close
from oracle_walk import explain
from reference import Network
from test_networks import rules_of

import lrp_onnx
from lrp_onnx.data import digits


@pytest.fixture(scope="module")
def bundle():
    return digits.load()


def predict(data, images):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": np.float32(images)[:, None] / 255})[0]


def test_a_dozen_digits_of_all_classes(bundle):
    _, images, labels = bundle
    assert images.dtype == np.uint8
    assert images.shape == (12, 28, 28)
    assert sorted(set(labels.tolist())) == list(range(10))
    assert len(labels) == 12
    assert len(np.unique(images.reshape(12, -1), axis=0)) == 12


def test_model_is_valid_and_portable(bundle):
    model = onnx.load_from_string(bundle[0])
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    names = [node.name for node in model.graph.node]
    assert names[:3] == ["conv1", "relu1", "conv2"]
    assert len(set(names)) == len(names) == 12


@pytest.mark.parametrize(
    ("field", "name", "shape"),
    [("input", "image", ["N", 1, 28, 28]), ("output", "logits", ["N", 10])],
)
def test_model_states_its_shapes(bundle, field, name, shape):
    (value,) = getattr(onnx.load_from_string(bundle[0]).graph, field)
    axes = value.type.tensor_type.shape.dim
    assert value.name == name
    assert [axis.dim_param or axis.dim_value for axis in axes] == shape


def test_biases_are_not_zero(bundle):
    tensors = onnx.load_from_string(bundle[0]).graph.initializer
    biases = [onnx.numpy_helper.to_array(t) for t in tensors if t.name.endswith(".bias")]
    assert len(biases) == 5
    assert all((bias != 0).all() for bias in biases)


def test_every_digit_is_named_correctly(bundle):
    data, images, labels = bundle
    assert predict(data, images).argmax(axis=1).tolist() == labels.tolist()


def test_digits_alone_and_in_a_batch_agree(bundle):
    data, images, _ = bundle
    together = predict(data, images)
    alone = np.concatenate([predict(data, images[k : k + 1]) for k in range(3)])
    np.testing.assert_allclose(alone, together[:3], rtol=1e-5, atol=1e-5)


def test_the_bundle_is_small():
    parts = [part for part in files("lrp_onnx.data.digits").iterdir() if part.is_file()]
    assert {"digits.onnx", "digits.npz", "ORIGIN.md"} <= {part.name for part in parts}
    assert sum(len(part.read_bytes()) for part in parts) < 200_000


def cropped() -> onnx.ModelProto:
    """The network for pictures of 16 by 16: its last map is 2 by 2 of the 5 by 5 that it was made
    for.  The oracle's matrices of its convolutions are a twelfth as large.
    """
    model = onnx.load_from_string(digits.load()[0])
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = 16
    (dense,) = [t for t in model.graph.initializer if t.name == "dense4.weight"]
    weight = onnx.numpy_helper.to_array(dense).reshape(-1, 16, 5, 5)[:, :, 1:3, 1:3]
    dense.CopyFrom(onnx.numpy_helper.from_array(weight.reshape(len(weight), -1), dense.name))
    return model


def test_relevance_on_real_activations_is_the_oracles() -> None:
    model, images = cropped(), digits.load()[1]
    x = (images[:1, None, 6:22, 6:22] / 255).astype(np.float32)
    network = Network(model)
    feeds = {"image": x.astype(float)}
    start = np.where(np.arange(10) == 3, network.forward(feeds)["logits"], 0.0)
    for composite in ("alpha2-beta1", "gamma"):  # which share the matrices of the layers
        compiled = lrp_onnx.compile(model, composite, target=3, check=False)
        relevance = lrp_onnx.Explainer(compiled)(x).relevance["image"]
        expected = explain(network, feeds, start, rules_of(composite, model))["image"]
        assert_close(relevance, expected)
