"""Torch networks with random BatchNorm statistics and biases, BatchNorm folded exactly, and their
ONNX exports.
"""

from __future__ import annotations

import copy
import io
import warnings

import torch

_register_fake = torch.library.register_fake


def _register_unless_torchvision(op, *args, **kwargs):
    # torchvision's compiled operators are not there beside a CPU torch; nothing here needs them
    if isinstance(op, str) and op.startswith("torchvision::"):
        return lambda function: function
    return _register_fake(op, *args, **kwargs)


torch.library.register_fake = _register_unless_torchvision
import torchvision  # noqa: E402  (only importable after the line above)

torch.library.register_fake = _register_fake

SEEDS = {"vgg11": 2, "vgg16_bn": 2, "resnet18": 5, "resnet50": 0, "mobilenet_v2": 3}
MOVED = 5e-7

NETWORKS = {
    "vgg11": torchvision.models.vgg11,
    "vgg16_bn": torchvision.models.vgg16_bn,
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "mobilenet_v2": torchvision.models.mobilenet_v2,
}


def network(name: str) -> torch.nn.Module:
    """The float32 network, seeded: BatchNorm statistics random, biases non-zero."""
    torch.manual_seed(0)
    net = NETWORKS[name](weights=None).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
        elif getattr(module, "bias", None) is not None:
            torch.nn.init.normal_(module.bias, std=0.05)
    return net


def photo_like(name: str) -> torch.Tensor:
    """An input [1, 3, 224, 224] within [-2, 2] for that network.

    The seeds are ones where no sum is so near 0, and no maximum so near a tie, that float32 decides
    it otherwise: there the floor is a few 1e-6, and the comparison is sharp.
    """
    generator = torch.Generator().manual_seed(SEEDS[name])
    return torch.rand(1, 3, 224, 224, generator=generator) * 4 - 2


def folded(net: torch.nn.Module, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    """A copy with every BatchNorm folded into the convolution before it, in float64, then cast to
    `dtype`.
    """
    net = copy.deepcopy(net).double()
    for parent in net.modules():
        before = None
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.BatchNorm2d):
                fused = torch.nn.utils.fuse_conv_bn_eval(getattr(parent, before), child)
                setattr(parent, before, fused)
                setattr(parent, name, torch.nn.Identity())
            before = name if isinstance(child, torch.nn.Conv2d) else None
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    return net.to(dtype)


def moved(net: torch.nn.Module) -> torch.nn.Module:
    """A copy of a float64 network with every weight moved by a relative 5e-7, seeded."""
    generator = torch.Generator().manual_seed(1)
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for p in copied.parameters():
            p.mul_(1 + MOVED * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return copied


def difference(actual, expected) -> float:
    """max|Δ| / max|R|."""
    return float(abs(actual - expected).max() / abs(expected).max())


def exported(net: torch.nn.Module, exporter: str) -> bytes:
    """The network as ONNX by one of torch's two exporters, with a dynamic batch; BatchNorm stays
    apart in the legacy one.
    """
    x = torch.zeros(1, 3, 224, 224)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            program = torch.onnx.export(
                net,
                (x.repeat(2, 1, 1, 1),),
                dynamo=True,
                opset_version=18,
                dynamic_shapes=({0: batch},),
                verbose=False,
            )
            return program.model_proto.SerializeToString()
        file = io.BytesIO()
        torch.onnx.export(
            net,
            (x,),
            file,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )
        return file.getvalue()
