"""Blocks whose parallel linear branches are merged for inference: RepVGG (Ding et al. 2021),
MobileOne (Vasu et al. 2023), RepViT (Wang et al. 2024), and what becomes of them.

Statistics are random, as after training.
"""

from __future__ import annotations

import torch
from torch import nn

WIDTH, SIDE = 6, 9


class Branches(nn.Module):
    """The sum of convolutions, each with its BatchNorm, and of a BatchNorm alone, perhaps."""

    def __init__(self, kernels, width=WIDTH, out=WIDTH, stride=1, groups=1, alone=True):
        super().__init__()
        self.sizes, self.stride, self.groups = (width, out), stride, groups
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, out, k, stride, k // 2, groups=groups, bias=False),
                nn.BatchNorm2d(out),
            )
            for k in kernels
        )
        self.alone = nn.BatchNorm2d(width) if alone else None

    def forward(self, x):
        y = sum(branch(x) for branch in self.convs)
        return y if self.alone is None else y + self.alone(x)

    def merged(self):
        """One convolution that computes the same."""
        width, out = self.sizes
        size = max(branch[0].kernel_size[0] for branch in self.convs)
        conv = nn.Conv2d(width, out, size, self.stride, size // 2, groups=self.groups)
        kernel, bias = torch.zeros_like(conv.weight), torch.zeros(out)
        for branch in self.convs:
            pad = (size - branch[0].kernel_size[0]) // 2
            scale, shift = _affine(branch[1])
            kernel += nn.functional.pad(scale[:, None, None, None] * branch[0].weight, [pad] * 4)
            bias += shift
        if self.alone is not None:
            scale, shift = _affine(self.alone)
            within = torch.arange(width) % (width // self.groups)
            kernel[torch.arange(width), within, size // 2, size // 2] += scale
            bias += shift
        conv.weight.data, conv.bias.data = kernel, bias
        return conv


def _affine(norm):
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class Residual(nn.Module):
    """x + f(x), f depthwise, which is one convolution too (RepViT)."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)

    def merged(self):
        """One convolution."""
        conv = self.inner.merged()
        middle = conv.kernel_size[0] // 2
        conv.weight.data[:, 0, middle, middle] += 1
        return conv


class Squeezed(nn.Module):
    """Channels weighed by what they hold."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(WIDTH, 3, 1), nn.Conv2d(3, WIDTH, 1)

    def forward(self, x):
        s = self.one(x.mean((2, 3), keepdim=True)).relu()
        return x * self.two(s).sigmoid()


def repvgg():
    return [Branches((3, 1), 3, WIDTH, stride=2, alone=False), nn.ReLU(),
            Branches((3, 1)), nn.ReLU(), Branches((3, 1), groups=2), nn.ReLU()]  # fmt: skip


def mobileone():
    pairs = [(Branches((3, 3, 3, 3, 1), groups=WIDTH), Branches((1, 1, 1, 1))) for _ in range(2)]
    layers = [layer for pair in pairs for part in pair for layer in (part, nn.ReLU())]
    return [Branches((3, 3, 1), 3, WIDTH, stride=2, alone=False), nn.ReLU(), *layers]


def repvit():
    layers = [nn.Conv2d(3, WIDTH, 3, 2, 1), nn.GELU()]
    for _ in range(2):
        layers += [Residual(Branches((3, 1), groups=WIDTH, alone=False)), Squeezed(),
                   Branches((1,), alone=False), nn.GELU(), Branches((1,), alone=False)]  # fmt: skip
    return layers


def ghost():
    return [nn.Conv2d(3, WIDTH, 3, padding=1), nn.ReLU(),
            Branches((3,), groups=WIDTH), nn.ReLU(), Branches((5, 3, 1)), nn.SiLU()]  # fmt: skip


BLOCKS = {"RepVGG": repvgg, "MobileOne": mobileone, "RepViT": repvit, "RepGhost": ghost}


def networks(name):
    """The network as it was trained, and merged."""
    torch.manual_seed(0)
    layers = BLOCKS[name]()
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 5)]
    merged = [layer.merged() if hasattr(layer, "merged") else layer for layer in layers]
    nets = nn.Sequential(*layers, *ends), nn.Sequential(*merged, *ends)
    return [net.eval().requires_grad_(False) for net in nets]
