"""SmoothGrad against the mean of gradients at noisy inputs, and its noise against a second writing
of it in numpy, which is normal and independent between draws.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from commands import picture_net, run_command
from gradient_models import PAIR, SMOOTH, X, bytes_net, pair_net
from models import Array, assert_close, run
from noise import draws
from onnx.reference import ReferenceEvaluator
from test_batched_steps import APART, MIXING, made, scans

import lrp_onnx
from lrp_onnx import Explainer, LrpError
from lrp_onnx.gradients import path_points
from lrp_onnx.gradients.noise import Noise
from lrp_onnx.graph.builder import Emit

N = 6


def noise_in_a_graph(shape: tuple[int, ...], free: bool, count: int) -> Array:
    """What the compiler's noise is, computed by onnx's reference implementation."""
    sizes = [f"d{k}" if free else d for k, d in enumerate(shape)]
    x = ir.Value(name="x", shape=ir.Shape(sizes), type=ir.TensorType(ir.DataType.FLOAT))
    k = ir.Value(name="k", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([x, k], [], nodes=[], name="noise", opset_imports={"": 18})
    emit = Emit(graph)
    graph.outputs.append(Noise(emit, x, 0, 1, batched=True).draw(emit, k))
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=10))
    evaluator, zero = ReferenceEvaluator(model), np.zeros(shape, np.float32)
    found = [evaluator.run(None, {"x": zero, "k": np.float32(s + 1)})[0] for s in range(count)]
    return np.stack(found)


@pytest.mark.parametrize("free", [False, True])
def test_noise_is_what_is_written_down(free: bool) -> None:
    shape = (2, 3, 5, 4)
    found = noise_in_a_graph(shape, free, 4)
    assert found.shape == (4, 1, 3, 5, 4)  # that of one sample
    assert_close(found, draws((3, 5, 4), 4)[:, None])


def test_noise_is_normal_and_independent() -> None:
    e = draws((3, 128, 128), 8).reshape(8, -1)
    count = e.shape[1]
    assert abs(e.mean()) < 4 / math.sqrt(e.size)
    assert abs(e.std() - 1) < 4 / math.sqrt(2 * e.size)
    assert abs((e**4).mean() - 3) < 4 * math.sqrt(96 / e.size)
    for one in e:
        below = 0.5 * (1 + np.vectorize(math.erf)(np.sort(one) / math.sqrt(2)))
        assert np.abs(below - np.arange(count) / count).max() * math.sqrt(count) < 2  # KS
    between_draws = np.corrcoef(e) - np.eye(8)
    assert np.abs(between_draws).max() < 5 / math.sqrt(count)
    for lag in (1, 2, 127, 128, 129, 128 * 128):  # neighbors in a row, a column, a channel
        products = (e[:, lag:] * e[:, :-lag]).mean(1)
        assert np.abs(products).max() < 5 / math.sqrt(count - lag)
    both = draws((1000,), 1, number=0, sources=2), draws((1000,), 1, number=1, sources=2)
    assert abs((both[0] * both[1]).mean()) < 5 / math.sqrt(1000)


def reference(model: onnx.ModelProto, x: Array, seed: Array, count: int, noise: float) -> Array:
    """One compiled gradient after the other."""
    explainer = Explainer(lrp_onnx.compile(model, method="gradient", check=False, target="seed"))
    axes = tuple(range(1, x.ndim))
    spread = noise * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True))
    at = (x + spread * e for e in draws(x.shape[1:], count))
    return np.mean([explainer(p.astype(np.float32), seed).relevance["x"] for p in at], axis=0)


@pytest.mark.parametrize("name", ["dense", "convolution", "attention", "one sample against all"])
@pytest.mark.parametrize("fixed", [False, True], ids=["open", "fixed"])
def test_it_is_the_mean_gradient(name: str, fixed: bool) -> None:
    model = made({**APART, **MIXING}[name], () if fixed else (0,))
    y = run(model, {"x": X})["y"]
    seed = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    compiled = lrp_onnx.compile(model, method="smooth-grad", samples=N, noise=0.3, target="seed")
    onnx.checker.check_model(compiled.model, full_check=True)
    assert scans(compiled.model) == (fixed or name in MIXING)
    found = Explainer(compiled)(X, seed).relevance["x"]
    expected = reference(model, X, seed, N, 0.3)
    assert_close(found, expected)
    with pytest.raises(AssertionError, match="max"):
        assert_close(found, 1.01 * expected)
    plain = Explainer(lrp_onnx.compile(model, method="gradient", target="seed"))(X, seed)
    assert np.abs(found - plain.relevance["x"]).max() > 0.01 * np.abs(found).max()


@pytest.mark.parametrize("count", [1, 4, 5, 7])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_samples_are_taken_in_groups(count: int, most: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(path_points, "BYTES", most * 3 * 4 * 4)  # three tensors of four floats
    model = made(APART["dense"])
    compiled = lrp_onnx.compile(model, method="smooth-grad", samples=count, target="seed")
    assert scans(compiled.model) == (count > most)
    seed = np.ones((3, 4), np.float32)
    found = Explainer(compiled)(X, seed).relevance["x"]
    assert_close(found, reference(model, X, seed, count, 0.15))


@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_other_runtimes_and_opsets_draw_the_same(opset: int) -> None:
    compiled = lrp_onnx.compile(SMOOTH, method="smooth-grad", samples=N, target=1, opset=opset)
    by_reference = ReferenceEvaluator(compiled.model).run(["x_relevance"], {"x": X})[0]
    assert_close(by_reference, Explainer(compiled)(X).relevance["x"])


def test_a_sample_does_not_depend_on_its_batch() -> None:
    explainer = Explainer(lrp_onnx.compile(SMOOTH, method="smooth-grad", samples=N))
    together = explainer(X).relevance["x"]
    alone = [explainer(X[k : k + 1]).relevance["x"] for k in range(len(X))]
    assert_close(together, np.concatenate(alone))


def test_the_class_is_chosen_at_the_input_itself() -> None:
    explainer = Explainer(lrp_onnx.compile(SMOOTH, method="smooth-grad", noise=3.0, samples=N))
    chosen = explainer(X)
    seed = np.eye(5, dtype=np.float32)[chosen.outputs["y"].argmax(1)]
    assert_close(chosen.relevance["x"], reference(SMOOTH, X, seed, N, 3.0))


def test_no_noise_is_the_gradient() -> None:
    found = Explainer(lrp_onnx.compile(SMOOTH, method="smooth-grad", noise=0.0))(X).relevance["x"]
    assert_close(found, Explainer(lrp_onnx.compile(SMOOTH, method="gradient"))(X).relevance["x"])


def test_bytes_and_token_ids() -> None:
    x = np.random.default_rng(5).integers(0, 256, (2, 2, 3)).astype(np.uint8)
    found = Explainer(lrp_onnx.compile(bytes_net(), method="smooth-grad", noise=0.0))(x)
    plain = Explainer(lrp_onnx.compile(bytes_net(), method="gradient"))(x)
    assert_close(found.relevance["x"], plain.relevance["x"])
    request = {"output": "b", "target": 1, "explain": ["ids", "f"], "samples": 3}
    both = Explainer(lrp_onnx.compile(pair_net(), method="smooth-grad", **request))(PAIR).relevance
    assert (both["ids"].shape, both["f"].shape) == ((2, 3), (2, 5))


def test_an_open_picture_does_not_grow_the_file() -> None:
    sizes = []
    for samples in (1, 100):
        compiled = lrp_onnx.compile(picture_net(size=8), method="smooth-grad", samples=samples)
        sizes.append(len(compiled.model.SerializeToString()))
    assert sizes[1] - sizes[0] < 5_000


@pytest.mark.parametrize(
    ("request_", "fact"),
    [
        ({"samples": 0}, "samples 0: from 1 to 1000"),
        ({"samples": 1001}, "samples 1001"),
        ({"noise": -0.1}, "noise -0.1"),
        ({"noise": math.nan}, "noise nan"),
        ({"steps": 3}, "steps: method 'smooth-grad' takes none. Choose integrated-gradients"),
        ({"method": "gradient", "noise": 0.1}, "noise: method 'gradient' takes none"),
        ({"relevance_at": "t"}, "no tensor in between"),
        ({"target": "top-2"}, "one class at a time"),
    ],
    ids=str,
)
def test_what_it_refuses(request_: dict[str, Any], fact: str) -> None:
    with pytest.raises(LrpError, match=fact):
        lrp_onnx.compile(SMOOTH, **{"method": "smooth-grad", **request_})


def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(picture_net(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.eye(8, dtype=np.float32)[None, None])
    out = tmp_path / "out.html"
    outcome = run_command(capsys, "explain", tmp_path / "model.onnx", tmp_path / "x.npy", "-o", out,
                          "--method=smooth-grad", "--samples=3", "--noise=0.2")  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    assert "argmax of logits, by smooth-grad (3 samples, noise 0.2)" in outcome.out
    outcome = run_command(capsys, "verify", tmp_path / "model.onnx", "--method", "smooth-grad")
    assert (outcome.status, outcome.err) == (0, "")
