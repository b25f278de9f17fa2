"""Zennit 1.0 as a referee: the composites under our names, and what it needs to see of functional
sums.
"""

from __future__ import annotations

import torch
import torchvision
import zennit.composites
import zennit.rules
from zennit.attribution import Gradient
from zennit.canonizers import AttributeCanonizer
from zennit.layer import Sum
from zennit.torchvision import ResNetBasicBlockCanonizer, ResNetBottleneckCanonizer
from zennit.types import Activation, AvgPool, Linear

LOW, HIGH = -2.0, 2.0
COMPOSITES = (
    "epsilon",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2-beta1",
    "epsilon-alpha2-beta1-flat",
    "epsilon-gamma-box",
)
CLASSES = {
    "epsilon-plus": zennit.composites.EpsilonPlus,
    "epsilon-plus-flat": zennit.composites.EpsilonPlusFlat,
    "epsilon-alpha2-beta1": zennit.composites.EpsilonAlpha2Beta1,
    "epsilon-alpha2-beta1-flat": zennit.composites.EpsilonAlpha2Beta1Flat,
}


class InvertedResidualCanonizer(AttributeCanonizer):
    """MobileNetV2's `x + conv(x)` as a module, since Zennit gives a functional sum a plain
    gradient.
    """

    def __init__(self) -> None:
        super().__init__(self._attributes)

    @staticmethod
    def _attributes(name: str, module: torch.nn.Module):
        if not isinstance(module, torchvision.models.mobilenetv2.InvertedResidual):
            return None

        def forward(self, x):
            y = self.conv(x)
            return self.canonizer_sum(torch.stack([x, y], dim=-1)) if self.use_res_connect else y

        return {"forward": forward.__get__(module), "canonizer_sum": Sum()}


class FinalAverageCanonizer(AttributeCanonizer):
    """MobileNetV2's functional average before the classifier as a module."""

    def __init__(self) -> None:
        super().__init__(self._attributes)

    @staticmethod
    def _attributes(name: str, module: torch.nn.Module):
        if not isinstance(module, torchvision.models.MobileNetV2):
            return None

        def forward(self, x):
            return self.classifier(torch.flatten(self.canonizer_average(self.features(x)), 1))

        return {
            "forward": forward.__get__(module),
            "canonizer_average": torch.nn.AdaptiveAvgPool2d((1, 1)),
        }


CANONIZERS = (
    ResNetBasicBlockCanonizer,
    ResNetBottleneckCanonizer,
    InvertedResidualCanonizer,
    FinalAverageCanonizer,
)


def composite(name: str, x: torch.Tensor) -> zennit.core.Composite:
    """Zennit's composite of that name for inputs within LOW … HIGH."""
    canonizers = [canonizer() for canonizer in CANONIZERS]
    if name in CLASSES:
        return CLASSES[name](canonizers=canonizers)
    if name == "epsilon-gamma-box":
        low, high = torch.full_like(x[:1], LOW), torch.full_like(x[:1], HIGH)
        return zennit.composites.EpsilonGammaBox(low=low, high=high, canonizers=canonizers)
    layers = [
        (Activation, zennit.rules.Pass()),
        (Sum, zennit.rules.Norm()),
        (AvgPool, zennit.rules.Norm()),
        (Linear, zennit.rules.Epsilon()),
    ]
    return zennit.composites.LayerMapComposite(layer_map=layers, canonizers=canonizers)


def relevance(net: torch.nn.Module, x: torch.Tensor, name: str, target: int) -> torch.Tensor:
    """Zennit's relevance of the input, starting at the target's logit."""

    def start(output: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros_like(output)
        mask[:, target] = 1
        return output.detach() * mask

    with Gradient(net, composite(name, x)) as attributor:
        _, attribution = attributor(x, start)
    return attribution.detach().double()
