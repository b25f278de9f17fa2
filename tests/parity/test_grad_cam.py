"""Grad-CAM of pytorch-grad-cam and of Captum, live.

pytorch-grad-cam scales its map to [0, 1] twice, which leaves nothing of the map's unit and zero, so
ours is scaled the same way.  Captum's is the layer's own map, with relu_attributions as in the
paper, and its interpolation the one that is asked for.
"""

from __future__ import annotations

import captum.attr
import networks  # before pytorch-grad-cam, which imports torchvision
import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from test_captum_gradients import exported

import lrp_onnx

CLASSES = [0, 3, 1]


def vision_transformer() -> torch.nn.Module:
    """Two blocks, 4 x 4 patches and a class token."""
    torch.manual_seed(0)
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32,
        num_classes=5,
    ).eval()  # fmt: skip


def patches(tokens: torch.Tensor) -> torch.Tensor:
    """The reshape_transform that pytorch-grad-cam's text gives for such networks."""
    return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)


def test_patches_of_a_transformer_are_theirs() -> None:
    net = vision_transformer()
    torch.nn.init.normal_(net.heads.head.weight)  # zero as it is made
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    compiled = lrp_onnx.compile(exported(net, x), method="grad-cam", target="input", class_axis=1)
    assert not compiled.warnings
    found = lrp_onnx.Explainer(compiled)(x.numpy(), target=np.array(CLASSES))
    ours = found.relevance["x"].sum(1)
    layers = [net.encoder.layers[-1].ln_1]
    theirs = GradCAM(net, layers, reshape_transform=patches)(
        x, [ClassifierOutputTarget(k) for k in CLASSES]
    )
    low, high = (f(ours, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    assert (high > low).all()
    assert np.abs((ours - low) / (high - low) - theirs).max() < 1e-4


def small_net() -> torch.nn.Module:
    """Two convolutions with a pool between, and a dense layer."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(4, 6, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(54, 5),
    ).eval()  # fmt: skip
    torch.nn.init.normal_(net[3].weight)
    return net


def cases() -> dict[str, tuple[torch.nn.Module, torch.nn.Module, torch.Tensor, str | None]]:
    """Network, the layer that ours takes, an input, and its name in the file where it is named."""
    small, resnet = small_net(), networks.network("resnet18")
    draw = torch.Generator().manual_seed(1)  # a map of zeros alone cannot be scaled
    x = torch.randn(3, 2, 11, 11, generator=draw)
    return {
        "last convolution": (small, small[3], x, None),
        "named layer": (small, small[2], x, "/2/AveragePool"),
        # a block's output: what lies inside of one is overwritten in place before a hook sees it
        "resnet18": (resnet, resnet.layer4[1], torch.randn(3, 3, 96, 64, generator=draw),
                     "/layer4/layer4.1/relu_1/Relu"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["last convolution", "named layer", "resnet18"])
def test_maps_are_theirs(name: str) -> None:
    net, module, x, layer = cases()[name]
    model = exported(net, x)
    compiled = lrp_onnx.compile(model, method="grad-cam", target="input", layer=layer)
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["x_relevance"], {"x": x.numpy(), "target": np.array(CLASSES)})
    assert np.ptp(found, axis=1).max() == 0  # every channel has its share
    ours = found.sum(1)
    theirs = GradCAM(net, [module])(x, [ClassifierOutputTarget(k) for k in CLASSES])
    assert (ours.max((1, 2)) > 0).all()
    low, high = (f(ours, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    assert np.abs((ours - low) / (high - low) - theirs).max() < 1e-5
    captums = captum.attr.LayerGradCam(net, module).attribute(
        x, target=CLASSES, relu_attributions=True
    )
    large = captum.attr.LayerAttribution.interpolate(
        captums, tuple(x.shape[2:]), interpolate_mode="bilinear"
    )
    expected = large[:, 0].detach().numpy()
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()
