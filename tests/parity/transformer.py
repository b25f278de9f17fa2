"""Three small transformers, written once over a set of operators, and AttnLRP as such a set.

Constants that are added or multiplied (positions, 1/√d, masks, cos and sin) pass relevance on.
"""

from __future__ import annotations

import io
import math
import warnings

import networks  # noqa: F401  (torchvision becomes importable, which lxt needs)
import torch
from lxt.explicit import functional as lxt
from torch.nn import functional as plain

WIDTH, HEADS, LAYERS, TOKENS = 32, 4, 2, 7
EPSILON, TINY = 1e-6, 1e-10


def stabilized(z):
    return z + torch.where(z >= 0, EPSILON, -EPSILON)


class _Rule(torch.autograd.Function):
    """A function of (inputs, held parts) whose backward carries relevance."""

    @staticmethod
    def forward(ctx, forward, share, *inputs):
        ctx.forward, ctx.share = forward, share
        ctx.save_for_backward(*inputs)
        return forward(*inputs)

    @staticmethod
    def backward(ctx, relevance):
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            z = ctx.forward(*inputs)
            s = ctx.share(relevance, z.detach())
            gradients = torch.autograd.grad(z, inputs, s)
        return None, None, *(x.detach() * c for x, c in zip(inputs, gradients, strict=True))


class _Pass(torch.autograd.Function):
    """Any function of one tensor, through which relevance goes unchanged."""

    @staticmethod
    def forward(ctx, function, x):
        return function(x)

    @staticmethod
    def backward(ctx, relevance):
        return None, relevance


class _Softmax(torch.autograd.Function):
    """R_x = x·(R - y·ΣR), 0 where x is masked (Achtibat et al. 2024, proposition 3.1)."""

    @staticmethod
    def forward(ctx, x):
        y = plain.softmax(x, -1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, relevance):
        x, y = ctx.saved_tensors
        finite = torch.where(torch.isfinite(x), x, 0.0)
        return finite * (relevance - y * relevance.sum(-1, keepdim=True))


def _epsilon(relevance, z):
    return relevance / stabilized(z)


def _half(relevance, z):
    return relevance / (2 * stabilized(z))


class Plain:
    """The network itself."""

    linear = staticmethod(plain.linear)
    matmul, add, mul = torch.matmul, torch.add, torch.mul

    @staticmethod
    def passing(function, x):
        return function(x)

    @staticmethod
    def softmax(x):
        return plain.softmax(x, -1)

    @staticmethod
    def layer_norm(x, norm):
        return norm(x)


class Exact:
    """The rules, each from its formula."""

    @staticmethod
    def linear(x, w, b=None):
        return _Rule.apply(lambda v: plain.linear(v, w.detach(), b), _epsilon, x)

    @staticmethod
    def matmul(a, b):
        return _Rule.apply(torch.matmul, _half, a, b)

    @staticmethod
    def add(a, b):
        return _Rule.apply(torch.add, _epsilon, a, b)

    @staticmethod
    def mul(a, b):
        return _Rule.apply(torch.mul, _half, a, b)

    passing = _Pass.apply
    softmax = _Softmax.apply

    @staticmethod
    def layer_norm(x, norm):
        deviation = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt().detach()

        def forward(v):
            return (v - v.mean(-1, keepdim=True)) / deviation * norm.weight + norm.bias

        return _Rule.apply(forward, _epsilon, x)


class Lxt(Exact):
    """LXT's own operators where it has them, with a stabilizer so small that its sign is of no
    account.
    """

    mul = lxt.mul2

    @staticmethod
    def linear(x, w, b=None):
        return lxt.linear_epsilon(x, w, b, TINY)

    @staticmethod
    def matmul(a, b):
        return lxt.matmul(a, b, False, TINY)

    @staticmethod
    def add(a, b):
        return lxt.add2(a, b, False, TINY)

    @staticmethod
    def softmax(x):
        return lxt.softmax(x, -1)

    @staticmethod
    def layer_norm(x, norm):
        return lxt.layer_norm_grad_fn.apply(x, norm.weight, norm.bias, norm.eps, TINY)


class RmsNorm(torch.nn.Module):
    """x/√(mean(x²) + ε)·weight."""

    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Attention(torch.nn.Module):
    """Multi-head attention, rotated and causal if asked for."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder
        self.q, self.k, self.v, self.o = (
            torch.nn.Linear(WIDTH, WIDTH, bias=not decoder) for _ in range(4)
        )

    def forward(self, ops, x):
        q, k, v = (_heads(ops.linear(x, m.weight, m.bias)) for m in (self.q, self.k, self.v))
        if self.decoder:
            q, k = (_rotated(ops, part) for part in (q, k))
        scores = ops.matmul(q, k.transpose(-1, -2))
        scores = ops.passing(lambda s: s / math.sqrt(WIDTH // HEADS), scores)
        if self.decoder:
            mask = torch.full((TOKENS, TOKENS), -math.inf, dtype=x.dtype).triu(1)
            scores = ops.passing(lambda s: s + mask, scores)
        mixed = ops.matmul(ops.softmax(scores), v)
        return ops.linear(mixed.transpose(1, 2).flatten(2), self.o.weight, self.o.bias)


def _heads(x):
    return x.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)


def _rotated(ops, x):
    """Rotary positions."""
    half = x.shape[-1] // 2
    angle = torch.arange(TOKENS)[:, None] / 100 ** (torch.arange(half) / half)
    cos, sin = (f(torch.cat([angle, angle], -1)).to(x.dtype) for f in (torch.cos, torch.sin))
    turned = torch.cat([ops.passing(torch.neg, x[..., half:]), x[..., :half]], -1)
    return ops.add(ops.passing(lambda v: v * cos, x), ops.passing(lambda v: v * sin, turned))


class Block(torch.nn.Module):
    """Attention and a feed-forward part: norms behind (BERT), in front (ViT), or Llama's."""

    def __init__(self, style):
        super().__init__()
        self.style, decoder = style, style == "llama"
        self.attention = Attention(decoder)
        norm = RmsNorm if decoder else torch.nn.LayerNorm
        self.first, self.second = norm(WIDTH), norm(WIDTH)
        self.up, self.gate = (torch.nn.Linear(WIDTH, 2 * WIDTH, bias=not decoder) for _ in "ab")
        self.down = torch.nn.Linear(2 * WIDTH, WIDTH, bias=not decoder)

    def forward(self, ops, x):
        if self.style == "bert":
            x = ops.layer_norm(ops.add(x, self.attention(ops, x)), self.first)
            return ops.layer_norm(ops.add(x, self.feed_forward(ops, x)), self.second)
        x = ops.add(x, self.attention(ops, self.normed(ops, x, self.first)))
        return ops.add(x, self.feed_forward(ops, self.normed(ops, x, self.second)))

    def normed(self, ops, x, norm):
        return ops.passing(norm, x) if self.style == "llama" else ops.layer_norm(x, norm)

    def feed_forward(self, ops, x):
        up = ops.linear(x, self.up.weight, self.up.bias)
        if self.style == "llama":
            gate = ops.passing(plain.silu, ops.linear(x, self.gate.weight, self.gate.bias))
            return ops.linear(ops.mul(gate, up), self.down.weight, self.down.bias)
        return ops.linear(ops.passing(plain.gelu, up), self.down.weight, self.down.bias)


class Transformer(torch.nn.Module):
    """Embedded tokens (N, TOKENS, WIDTH), for `vit` an image (N, 3, 8, 12) -> 5 logits."""

    def __init__(self, style):
        super().__init__()
        torch.manual_seed(0)
        self.style = style
        self.embed = torch.nn.Conv2d(3, WIDTH, 4, 4) if style == "vit" else None
        self.position = torch.nn.Parameter(torch.randn(1, TOKENS + (style == "vit"), WIDTH) / 2)
        self.start = torch.nn.Parameter(torch.randn(1, 1, WIDTH))
        self.blocks = torch.nn.ModuleList(Block(style) for _ in range(LAYERS))
        self.last = RmsNorm(WIDTH) if style == "llama" else torch.nn.LayerNorm(WIDTH)
        self.head = torch.nn.Linear(WIDTH, 5)
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or "first" in name or "second" in name or "last" in name:
                parameter.data.add_(torch.randn_like(parameter) / 5)

    def forward(self, x):
        return self.by(Plain, x)

    def by(self, ops, x):
        """The logits, by the operators of `ops`."""
        if self.style == "vit":
            x = self.patches(ops, x)
        if self.style == "bert":
            x = ops.layer_norm(ops.passing(lambda v: v + self.position, x), self.last)
        for block in self.blocks:
            x = block(ops, x)
        if self.style != "bert":
            x = self.blocks[0].normed(ops, x, self.last)
        return ops.linear(
            x[:, -1 if self.style == "llama" else 0], self.head.weight, self.head.bias
        )

    def patches(self, ops, x):
        w = self.embed.weight.flatten(1)
        if ops is Plain:
            x = self.embed(x).flatten(2).transpose(1, 2)
        else:
            x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
            x = ops.linear(x, w, self.embed.bias)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1)
        return ops.passing(lambda v: v + self.position[:, : x.shape[1]], x)


def inputs(style):
    """Generic: with seed 1 one output of the ViT is 4e-8, below ε, and float32 costs 7e-4."""
    torch.manual_seed(2)
    return torch.randn(2, 3, 8, 12) if style == "vit" else torch.randn(2, TOKENS, WIDTH)


def relevance(net, x, ops, target):
    """Relevance of each input element for one logit under the rules of `ops`, in float64."""
    x = x.double().requires_grad_()
    logits = net.double().by(ops, x)
    start = torch.zeros_like(logits)
    start[:, target] = logits.detach()[:, target]
    return torch.autograd.grad(logits, x, start)[0]


def onnx_bytes(net, x, exporter):
    """The network exported by the old or the new exporter."""
    file = io.BytesIO()
    options = (
        {"dynamo": True, "external_data": False} if exporter == "dynamo" else {"dynamo": False}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (x,), file, input_names=["x"], output_names=["logits"],
            opset_version=18, **options,
        )  # fmt: skip
    return file.getvalue()
