"""Quantus, live: pixel flipping and its areas, complexity and the correlation of re-drawn weights.

On the bundled digit network, whose weights PyTorch gets.
"""

from __future__ import annotations

import io

import networks  # noqa: F401  (torchvision becomes importable, which Quantus' imports need)
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import quantus
import torch
from onnx import numpy_helper
from scipy.integrate import trapezoid

import lrp_onnx
from lrp_onnx import digits
from lrp_onnx.validate.map_statistics import rank_correlation
from lrp_onnx.validate.randomization import layers_of, redrawn

COMPOSITE = "epsilon-plus-flat"  # no two pixels have the same relevance
IN_STEP = 14
STEPS = 28 * 28 // IN_STEP
pytestmark = pytest.mark.filterwarnings("ignore")  # Quantus' own

MODEL, IMAGES, _ = digits.load()
X = (IMAGES[:, None] / 255).astype(np.float32)


def torch_model() -> torch.nn.Sequential:
    """The digit network in PyTorch."""
    weights = {
        t.name: torch.tensor(numpy_helper.to_array(t).copy())
        for t in onnx.load(io.BytesIO(MODEL)).graph.initializer
    }
    layers = {
        "conv1": torch.nn.Conv2d(1, 8, 3),
        "relu1": torch.nn.ReLU(),
        "conv2": torch.nn.Conv2d(8, 16, 3),
        "relu2": torch.nn.ReLU(),
        "pool2": torch.nn.MaxPool2d(2),
        "conv3": torch.nn.Conv2d(16, 16, 3),
        "relu3": torch.nn.ReLU(),
        "pool3": torch.nn.MaxPool2d(2),
        "flatten": torch.nn.Flatten(),
        "dense4": torch.nn.Linear(400, 32),
        "relu4": torch.nn.ReLU(),
        "dense5": torch.nn.Linear(32, 10),
    }
    network = torch.nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    network.load_state_dict(weights)
    return network.eval()


def maps(model: bytes, x: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Relevance of these classes, [N, 1, 28, 28]."""
    compiled = lrp_onnx.compile(model, composite=COMPOSITE, target="input", check=False)
    return lrp_onnx.Explainer(compiled)(x, classes).relevance["image"]


@pytest.fixture(scope="module")
def found() -> lrp_onnx.validate.evaluation.Evaluation:
    """What evaluate finds, pixel by pixel, replaced by black."""
    return lrp_onnx.evaluate(MODEL, X, [COMPOSITE], replacement="zero", unit=1, points=STEPS)


@pytest.fixture(scope="module")
def given() -> dict[str, object]:
    """What Quantus is given."""
    network = torch_model()
    classes = network(torch.tensor(X)).argmax(1).numpy()
    return {"model": network, "x_batch": X, "y_batch": classes, "device": "cpu"}


def flipped(given: dict[str, object], relevance: np.ndarray, **options: object) -> np.ndarray:
    """Quantus' pixel flipping: softmax probabilities after each step."""
    metric = quantus.PixelFlipping(
        features_in_step=IN_STEP,
        normalise=False,
        perturb_baseline=0.0,
        disable_warnings=True,
        **options,
    )
    return np.array(metric(**given, a_batch=relevance, channel_first=True))


def test_pixel_flipping(found, given, monkeypatch) -> None:
    relevance = maps(MODEL, X, given["y_batch"])
    own = found[COMPOSITE].flipped
    areas = {}
    for order, sign in (("morf", 1), ("lerf", -1)):
        curves = flipped(given, sign * relevance)
        ours = np.array([getattr(f, order).score for f in own])
        assert np.allclose(ours[:, 1:], curves, atol=1e-5)
        areas[order] = trapezoid(np.c_[found.whole, curves], axis=1) / STEPS
        # Quantus' own area counts steps and leaves the whole picture out; NumPy 2.4 lacks trapz
        monkeypatch.setattr(np, "trapz", trapezoid, raising=False)
        auc = flipped(given, sign * relevance, return_auc_per_sample=True)
        assert np.allclose(trapezoid(ours[:, 1:], axis=1), auc, rtol=1e-5)
    assert np.allclose(found[COMPOSITE].srg, areas["lerf"] - areas["morf"], atol=1e-5)
    assert found[COMPOSITE].srg.min() > 0.05


def test_complexity(found, given) -> None:
    metric = quantus.Complexity(normalise=False, abs=True, disable_warnings=True)
    theirs = metric(**given, a_batch=maps(MODEL, X, given["y_batch"]), channel_first=True)
    assert np.allclose(found[COMPOSITE].complexity, theirs, rtol=1e-5)


def test_layers_are_redrawn_from_the_top(given) -> None:
    """Stage by stage the same layers as Quantus', and the same correlation of the same maps."""
    relevance = maps(MODEL, X, given["y_batch"])
    changed: list[tuple[set[str], np.ndarray]] = []

    def explain(model: torch.nn.Module, inputs, targets, **_: object) -> np.ndarray:
        proto = onnx.load(io.BytesIO(MODEL))
        names = set()
        for tensor in proto.graph.initializer:
            array = model.state_dict()[tensor.name].numpy()
            if not np.array_equal(array, numpy_helper.to_array(tensor)):
                names.add(tensor.name)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        again = maps(proto.SerializeToString(), np.asarray(inputs), np.asarray(targets))
        changed.append((names, again))
        return again

    metric = quantus.MPRT(layer_order="top_down", normalise=False, disable_warnings=True, abs=False)
    scores = metric(**given, a_batch=relevance, explain_func=explain, channel_first=True)
    stages = [values for name, values in scores.items() if name != "original"]
    changed = [(names, again) for names, again in changed if names]
    model = ir.serde.deserialize_model(onnx.load(io.BytesIO(MODEL)))
    weights = {str(v.name): v for v in model.graph.initializers.values()}
    assert len(stages) == len(changed) == len(layers_of(model)) == 5
    for count, ((names, again), theirs) in enumerate(zip(changed, stages, strict=True), 1):
        other = redrawn(model, count, seed=0).graph.initializers
        ours = {
            name
            for name, value in weights.items()
            if not np.array_equal(value.const_value.numpy(), other[name].const_value.numpy())
        }
        assert ours == names
        pairs = zip(relevance, again, strict=True)
        own = [rank_correlation({"x": a}, {"x": b}) for a, b in pairs]
        assert np.allclose(own, theirs, atol=1e-6)
