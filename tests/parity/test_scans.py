"""Mamba (1 and 2) and Jamba after Hugging Face's classes, both exporters: MambaLRP in float64.

The reference is input times the gradient of a network whose gates are detached (Jafari et al. 2024,
MambaLRP); it is written from the formulas, with the weights alone taken from the classes.  xLSTM,
whose gates are exponentials of masked sums, must have finite relevance.
"""

from __future__ import annotations

import functools
import io
import warnings

import huggingface  # noqa: F401  (torchvision becomes importable, which transformers needs)
import numpy as np
import onnx
import pytest
import torch
import transformers

import lrp_onnx

STEPS, WIDTH, INNER, STATE, RANK, TARGET = 5, 8, 16, 4, 2, 1
HEADS, GROUPS = 4, 2
SIZES = {"vocab_size": 20, "hidden_size": WIDTH, "num_hidden_layers": 2}
CLASSES = {
    "mamba": (transformers.MambaModel, transformers.MambaConfig(
        **SIZES, state_size=STATE, intermediate_size=INNER, time_step_rank=RANK, conv_kernel=3,
        use_mambapy=False)),
    "mamba2": (transformers.Mamba2Model, transformers.Mamba2Config(
        **SIZES, state_size=STATE, num_heads=HEADS, head_dim=INNER // HEADS, n_groups=GROUPS,
        chunk_size=3, conv_kernel=3)),
    "jamba": (transformers.JambaModel, transformers.JambaConfig(
        **SIZES, intermediate_size=32, num_attention_heads=2, num_key_value_heads=1,
        mamba_d_state=STATE, mamba_dt_rank=RANK, mamba_expand=2, mamba_d_conv=3,
        attn_layer_period=8, attn_layer_offset=7, expert_layer_period=8, expert_layer_offset=7,
        use_mamba_kernels=False)),
    "xlstm": (transformers.xLSTMModel, transformers.xLSTMConfig(
        vocab_size=20, hidden_size=WIDTH, num_blocks=2, num_heads=2, chunk_size=4,
        chunkwise_kernel="chunkwise--native_autograd", mode="inference",
        sequence_kernel="native_sequence__native", step_kernel="native")),
}  # fmt: skip
EXPORTS = [
    ("mamba", False), ("mamba", True), ("mamba2", True), ("jamba", True),
    ("xlstm", False), ("xlstm", True),
]  # fmt: skip
"""The legacy exporter fails on Jamba, and of Mamba-2 makes a graph that no runtime loads."""


class Classifier(torch.nn.Module):
    """Embeddings (N, steps, width) -> (N, 3), of the last step."""

    def __init__(self, style):
        super().__init__()
        torch.manual_seed(0)
        of_class, config = CLASSES[style]
        self.net, self.head = of_class(config), torch.nn.Linear(WIDTH, 3)
        for name, parameter in self.named_parameters():
            if name.endswith("A_log"):
                parameter.data = torch.log(torch.rand_like(parameter) * 2 + 0.2)
            elif name.endswith("conv1d.weight") and style == "mamba2":
                torch.nn.init.normal_(parameter, std=0.9)
            elif parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        self.eval().requires_grad_(False)

    def forward(self, x):
        return self.head(self.net(inputs_embeds=x, use_cache=False).last_hidden_state[:, -1])


def inputs():
    return torch.tensor(np.random.default_rng(3).standard_normal((2, STEPS, WIDTH)))


@functools.cache
def exported(style, dynamo):
    net, x, held = Classifier(style), inputs().float(), io.BytesIO()
    open_batch = {"dynamic_axes": {"x": {0: "N"}}, "opset_version": 17}
    if dynamo:
        open_batch = {"dynamic_shapes": {"x": {0: "N"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(net, (x,), held, dynamo=dynamo, **names, **open_batch)
    return onnx.load_from_string(held.getvalue())


def relevance(style, dynamo):
    compiled = lrp_onnx.compile(exported(style, dynamo), "attnlrp", target=TARGET)
    assert compiled.warnings == ()
    return lrp_onnx.Explainer(compiled)(inputs().float().numpy()).relevance["x"]


def silu(v):
    return v * torch.sigmoid(v).detach()


def rms(v, w, epsilon):
    return v * torch.rsqrt((v * v).mean(-1, keepdim=True) + epsilon).detach() * w


def halves(a, b):
    """a·b, half of the relevance to each."""
    return (a * b.detach() + a.detach() * b) / 2


def scan(g, x, epsilon):
    """A selective scan; g: its weights by name."""
    u, z = (x @ g["in_proj.weight"].T).transpose(1, 2).chunk(2, 1)
    convolved = torch.nn.functional.conv1d(
        u, g["conv1d.weight"], g["conv1d.bias"], padding=2, groups=INNER
    )
    u = silu(convolved[..., :STEPS])
    projected = u.transpose(1, 2) @ g["x_proj.weight"].T
    dt, b, c = projected.split([RANK, STATE, STATE], -1)
    if "dt_layernorm.weight" in g:
        dt, b, c = (
            rms(v, g[f"{k}_layernorm.weight"], epsilon) for k, v in (("dt", dt), ("b", b), ("c", c))
        )
    dt = torch.nn.functional.softplus(dt @ g["dt_proj.weight"].T + g["dt_proj.bias"])
    a = torch.exp(-torch.exp(g["A_log"]) * dt[..., None]).detach()
    b, c = (dt[..., None] * b[:, :, None]).detach(), c.detach()
    h, outputs = torch.zeros(len(x), INNER, STATE).double(), []
    for t in range(STEPS):
        h = a[:, t] * h + b[:, t] * u[:, :, t, None]
        outputs.append((h * c[:, t, None]).sum(-1))
    y = torch.stack(outputs, -1) + u * g["D"][None, :, None]
    return halves(y, silu(z)).transpose(1, 2) @ g["out_proj.weight"].T


def scan_of_heads(g, x, epsilon):
    """Mamba-2's scan, step by step: one decay a head, b and c shared by a group of heads."""
    z, u, dt = (x @ g["in_proj.weight"].T).split([INNER, INNER + 2 * GROUPS * STATE, HEADS], -1)
    convolved = torch.nn.functional.conv1d(
        u.transpose(1, 2), g["conv1d.weight"], g["conv1d.bias"], padding=2, groups=u.shape[-1]
    )
    u = silu(convolved[..., :STEPS].transpose(1, 2))
    u, b, c = u.split([INNER, GROUPS * STATE, GROUPS * STATE], -1)
    u = u.unflatten(-1, (HEADS, -1))
    b, c = (
        v.unflatten(-1, (GROUPS, STATE)).repeat_interleave(HEADS // GROUPS, 2).detach()
        for v in (b, c)
    )
    dt = torch.nn.functional.softplus(dt + g["dt_bias"]).detach()
    a = torch.exp(-torch.exp(g["A_log"]) * dt)
    h, outputs = torch.zeros(len(x), HEADS, INNER // HEADS, STATE).double(), []
    for t in range(STEPS):
        h = a[:, t, :, None, None] * h + (dt[:, t, :, None] * u[:, t])[..., None] * b[:, t, :, None]
        outputs.append((h * c[:, t, :, None]).sum(-1) + u[:, t] * g["D"][:, None])
    y = halves(torch.stack(outputs, 1).flatten(2), silu(z)).unflatten(-1, (GROUPS, -1))
    return rms(y, g["norm.weight"].view(GROUPS, -1), epsilon).flatten(2) @ g["out_proj.weight"].T


def reference(style):
    net = Classifier(style).double()
    weights = dict(net.state_dict())

    def under(prefix):
        return {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}

    x = inputs().requires_grad_()
    v = x
    for k in range(2):
        layer = f"net.layers.{k}."
        if style != "jamba":
            normed = rms(v, weights[f"{layer}norm.weight"], 1e-5)
            of_style = scan if style == "mamba" else scan_of_heads
            v = v + of_style(under(f"{layer}mixer."), normed, 1e-5)
            continue
        normed = rms(v, weights[f"{layer}input_layernorm.weight"], 1e-6)
        v = v + scan(under(f"{layer}mamba."), normed, 1e-6)
        normed = rms(v, weights[f"{layer}pre_ff_layernorm.weight"], 1e-6)
        ff = under(f"{layer}feed_forward.")
        gate, up = normed @ ff["gate_proj.weight"].T, normed @ ff["up_proj.weight"].T
        v = v + halves(silu(gate), up) @ ff["down_proj.weight"].T
    last, epsilon = ("final_layernorm", 1e-6) if style == "jamba" else ("norm_f", 1e-5)
    v = rms(v, weights[f"net.{last}.weight"], epsilon)
    y = v[:, -1] @ weights["head.weight"].T + weights["head.bias"]
    (gradient,) = torch.autograd.grad(y[:, TARGET].sum(), x)
    return (x * gradient).detach().numpy(), y.detach().numpy()


@pytest.mark.parametrize(("style", "dynamo"), EXPORTS)
def test_relevance_is_the_reference(style, dynamo):
    found = relevance(style, dynamo)
    if style == "xlstm":
        assert np.isfinite(found).all()
        assert np.abs(found).max() > 0
        return
    expected, y = reference(style)
    net = Classifier(style)(inputs().float()).numpy()
    np.testing.assert_allclose(y, net, atol=1e-5)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < 1e-4, difference
