"""Captum's LRP, live: VGG-11, Captum in float64.

Captum's gamma and alpha-beta leave the bias as it is, where the papers and Zennit modify it like
the weights, and its stabilizer there is 1e-9; so they are written here as rule files. The first
layer, which reads a signed picture, gets epsilon in both. The bound is max(1e-4, 5 × floor), the
floor being what float32, or weights moved by 5e-7, cost Captum.
"""

from __future__ import annotations

import captum.attr
import networks
import onnxruntime
import pytest
import torch
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule

import lrp_onnx

CASES = {
    "epsilon": (lambda: EpsilonRule(epsilon=1e-6), "w", 1e-6),
    "alpha1-beta0": (Alpha1_Beta0_Rule, "pos(w)", 1e-9),
    "gamma": (lambda: GammaRule(gamma=0.25), "w + 0.25*pos(w)", 1e-9),
}
RULE = """
summary = "Captum's rule for convolutions"
reference = "captum.attr._utils.lrp_rules"
parameters = {{ epsilon = {epsilon} }}
[[share]]
terms = [{{ x = "x", w = "{weight}", b = "b" }}]
"""
COMPOSITE = """
summary = "what Captum is set to"
reference = "captum.attr.LRP"
base = "base"
[[layer]]
first = true
kind = "linear"
rule = "epsilon"
[[layer]]
op = "Conv"
rule = "convolution.toml"
[[layer]]
kind = "linear"
rule = "epsilon"
"""


def captums(net, x, target, rule):
    """Captum's relevance in float64: `rule` on all convolutions but the first, epsilon
    elsewhere.
    """
    modules = [m for m in net.modules() if not list(m.children())]
    for module in modules:
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    convolutions = [m for m in modules if isinstance(m, torch.nn.Conv2d)]
    for module in modules:
        if (
            isinstance(module, torch.nn.Linear | torch.nn.AdaptiveAvgPool2d)
            or module is convolutions[0]
        ):
            module.rule = EpsilonRule(epsilon=1e-6)
        elif isinstance(module, torch.nn.Conv2d):
            module.rule = rule()
    return (
        captum.attr.LRP(net).attribute(x.clone().requires_grad_(), target=target).detach().numpy()
    )


@pytest.mark.parametrize("name", CASES)
def test_relevance_is_captums(name, tmp_path, capsys):
    make_rule, weight, epsilon = CASES[name]
    net, x = networks.network("vgg11"), networks.photo_like("vgg11")
    target = int(net(x).argmax())
    file = tmp_path / "captum.toml"
    file.write_text(COMPOSITE)
    rule = RULE.format(weight=weight, epsilon=epsilon)
    (tmp_path / "convolution.toml").write_text(rule)
    compiled = lrp_onnx.compile(
        networks.exported(net, "legacy"), str(file), target=target, fold="never", check=False
    )
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    actual = session.run(["input_relevance"], {"input": x.numpy()})[0]
    exact = networks.folded(net)
    expected = captums(exact, x.double(), target, make_rule)
    single = captums(networks.folded(net, torch.float32), x, target, make_rule)
    elsewhere = captums(networks.moved(exact), x.double(), target, make_rule)
    floor = max(networks.difference(other, expected) for other in (single, elsewhere))
    found, bound = networks.difference(actual, expected), max(1e-4, 5 * floor)
    with capsys.disabled():
        print(f"\nvgg11 {name}: {found:.1e}, floor {floor:.1e}, bound {bound:.1e}", end=" ")
    assert found <= bound
