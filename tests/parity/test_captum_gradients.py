"""Captum's Saliency, InputXGradient, IntegratedGradients and NoiseTunnel, live, on a small network
in float64.

Captum's integral is taken by the rule that it calls riemann_middle after the same substitution as
ours, which is to say with its own method at our points: it lets a caller give none, so both are
compared where they have converged, and the points one by one in tests/gradients/test_methods.py.
NoiseTunnel draws with torch.normal, which is given our noise: the rest is Captum's own.
"""

from __future__ import annotations

import io
import warnings

import captum.attr
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from noise import draws

import lrp_onnx

STEPS = 2000


def small_net() -> torch.nn.Module:
    """Convolutions, smooth activations, a pool and two dense layers."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Softplus(), torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(4, 6, 3, stride=2), torch.nn.Tanh(), torch.nn.Flatten(),
        torch.nn.Linear(24, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5),
    ).eval()  # fmt: skip


def exported(net: torch.nn.Module, x: torch.Tensor) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (x,), buffer, dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "N"}, "y": {0: "N"}}, opset_version=17,
        )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


def captums(net: torch.nn.Module, method: str, x: torch.Tensor, baseline: torch.Tensor) -> object:
    net, x, target = net.double(), x.double().requires_grad_(), [0, 3, 1]
    if method == "saliency":
        return captum.attr.Saliency(net).attribute(x, target=target)
    if method == "input-x-gradient":
        return captum.attr.InputXGradient(net).attribute(x, target=target)
    return captum.attr.IntegratedGradients(net).attribute(
        x, baseline.double(), target=target, n_steps=STEPS, method="riemann_middle"
    )


@pytest.mark.parametrize(
    ("method", "baseline"),
    [
        ("saliency", None),
        ("input-x-gradient", None),
        ("integrated-gradients", 0.0),
        ("integrated-gradients", 0.5),
    ],
)
def test_gradient_methods_are_captums(method: str, baseline: float | None) -> None:
    x = torch.randn(3, 2, 11, 11, generator=torch.Generator().manual_seed(1))
    model = exported(small_net(), x)
    point = torch.full((1, 2, 11, 11), baseline or 0.0)
    given = {} if baseline is None else {"baseline": point.numpy(), "steps": STEPS}
    compiled = lrp_onnx.compile(model, method=method, target="input", **given)
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {"x": x.numpy(), "target": np.array([0, 3, 1])}
    (found,) = session.run(["x_relevance"], feeds)
    expected = captums(small_net(), method, x, point).detach().numpy()
    tolerance = 1e-4 if baseline is not None else 1e-5  # of max|R|; 2000 float32 points summed
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_smooth_grad_is_captums(monkeypatch: pytest.MonkeyPatch) -> None:
    count, noise = 9, 0.15
    x = torch.randn(1, 2, 11, 11, generator=torch.Generator().manual_seed(1))
    compiled = lrp_onnx.compile(exported(small_net(), x), method="smooth-grad", target=3,
                                samples=count, noise=noise)  # fmt: skip
    found = lrp_onnx.Explainer(compiled)(x.numpy()).relevance["x"]
    own = torch.from_numpy(draws((2, 11, 11), count))
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: mean + deviation * own)
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(small_net().double()))
    spread = noise * float(x.max() - x.min())
    expected = tunnel.attribute(
        x.double(), nt_type="smoothgrad", nt_samples=count, stdevs=spread, target=3, abs=False
    )
    difference = np.abs(found - expected.detach().numpy()).max()
    assert difference <= 1e-5 * np.abs(expected.detach().numpy()).max()
