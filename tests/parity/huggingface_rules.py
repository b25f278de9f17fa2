"""AttnLRP and CP-LRP on Hugging Face's own classes, in float64: by the formulas, and by LXT 2.1.

The formulas take the place of torch's functions while a network runs, whatever its class; LXT's
patches take the place of the classes' methods. LXT's `monkey_patch` itself does not import beside
transformers 5, hence its patches one by one; where it has none, its identity rule is put around the
activation. Its CP-LRP for Llama also stops relevance at the gate of the feed-forward part, which
is no part of CP-LRP's attention: there its patch for AttnLRP is used for both.
"""

from __future__ import annotations

import operator
import sys
import types
from functools import partial

import torch
import transformer
import transformers.pytorch_utils
from huggingface import Network, inputs
from torch.nn import functional as plain
from torch.overrides import TorchFunctionMode
from transformer import Exact

# transformers 5 has it no more; LXT's copy of BERT, not used here, imports it
transformers.pytorch_utils.find_pruneable_heads_and_indices = None
from lxt.efficient import patches as lxt  # noqa: E402
from lxt.efficient.rules import identity_rule_implicit  # noqa: E402


class Embedded(TorchFunctionMode):
    """Remembers the words' embeddings, whose relevance is asked for."""

    def __init__(self, network, composite):
        super().__init__()
        text = network.style != "vit"
        self.table = network.net.get_input_embeddings().weight if text else None
        self.composite, self.words = composite, None

    def __torch_function__(self, function, _, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is plain.embedding and args[1] is self.table:
            self.words = function(*args, **kwargs).requires_grad_()
            return self.words
        return self.explained(function, args, kwargs)

    def explained(self, function, args, kwargs):
        return function(*args, **kwargs)


class Formulas(Embedded):
    """Each function's rule in the place of the function, where relevance goes through it."""

    def explained(self, function, args, kwargs):
        rule = RULES.get(getattr(function, "__name__", "").strip("_"))
        live = [_live(a) for a in args[:3]]
        if rule is None or not any(live):
            return function(*args, **kwargs)
        return rule(self, lambda *v: function(*v, **kwargs), live, *args, **kwargs)


def _linear(mode, function, live, x, w, b=None, **options):
    return Exact.linear(x, w, b)


def _addmm(mode, function, live, b, x, w, **options):
    return Exact.linear(x, w.T, b)


def _conv(mode, function, live, x, *rest, **options):
    return transformer._Rule.apply(lambda v: function(v, *rest), transformer._epsilon, x)


def _matmul(mode, function, live, a, b, **options):
    """All to the values under CP-LRP, where the weights do not require a gradient."""
    if all(live):
        return Exact.matmul(a, b)
    return transformer._Rule.apply(lambda v: function(a, v), transformer._epsilon, b)


def _softmax(mode, function, live, x, *rest, **options):
    if mode.composite == "cp-lrp":
        return plain.softmax(x.detach(), -1)
    return Exact.softmax(x)


def _sum(mode, function, live, a, b, **options):
    return Exact.add(a, b) if all(live[:2]) else _with_constant(function, live, a, b)


def _product(mode, function, live, a, b, **options):
    return Exact.mul(a, b) if all(live[:2]) else _with_constant(function, live, a, b)


def _with_constant(function, live, a, b):
    if live[1]:
        return Exact.passing(lambda v: function(a, v), b)
    return Exact.passing(lambda v: function(v, b), a)


def _passing(mode, function, live, x, *rest, **options):
    return Exact.passing(lambda v: function(v, *rest), x)


def _layer_norm(mode, function, live, x, shape, weight, bias, eps, **options):
    return Exact.layer_norm(x, types.SimpleNamespace(weight=weight, bias=bias, eps=eps))


RULES = {
    "linear": _linear, "addmm": _addmm, "conv2d": _conv, "matmul": _matmul,
    "softmax": _softmax, "layer_norm": _layer_norm,
    **dict.fromkeys(["add", "radd", "iadd"], _sum),
    **dict.fromkeys(["mul", "rmul", "imul"], _product),
    **dict.fromkeys(["div", "truediv", "neg", "gelu", "silu", "relu", "tanh"], _passing),
}  # fmt: skip


def by_formulas(style, composite, target):
    """Relevance of pixels or of the words' embeddings."""
    network = Network(style).double()
    for module in network.modules():
        # of what is spelled out the functions' rules do not see the whole
        if hasattr(module, "variance_epsilon"):
            module.forward = _passed(_root_mean_square(module))
        elif type(module).__name__ == "NewGELUActivation":
            module.forward = _passed(module.forward)
    leaf, logits = _run(network, Formulas(network, composite), target)
    return torch.autograd.grad(logits, leaf, logits.detach())[0]


def _passed(function):
    return lambda x: Exact.passing(function, x)


def _root_mean_square(norm):
    """RMSNorm in the precision of its input, which the classes leave for float32."""

    def forward(x):
        square = x.pow(2).mean(-1, keepdim=True)
        return norm.weight * x * torch.rsqrt(square + norm.variance_epsilon)

    return forward


def _run(network, mode, target):
    x = tuple(v.double() if v.is_floating_point() else v for v in inputs(network.style))
    if network.style == "vit":
        x[0].requires_grad_()
    with mode:
        logits = network(*x)[:, target]
    return x[0] if network.style == "vit" else mode.words, logits


class Patched(Embedded):
    """LXT leaves their share of relevance with constants that are added, positions above all; here
    they pass it on, by its identity rule.
    """

    def explained(self, function, args, kwargs):
        name = getattr(function, "__name__", "").strip("_")
        if name == "tanh" and _live(args[0]):  # RoBERTa's head calls the function
            return identity_rule_implicit(function, *args)
        if name == "softmax":  # Llama's own is float32, where the mask of float64 is -inf
            return function(args[0], -1)
        if name in ("add", "radd", "iadd"):
            a, b = args
            for x, constant in ((a, b), (b, a)):
                if _live(x) and not _live(constant) and _spread(constant):
                    return identity_rule_implicit(partial(operator.add, constant), x)
        return function(*args, **kwargs)


def _live(x):
    return isinstance(x, torch.Tensor) and x.requires_grad


def _spread(constant):
    """Whether it is added to tokens or scores, being no bias and no mask."""
    return isinstance(constant, torch.Tensor) and constant.ndim > 2 and constant.abs().max() < 1e30


def by_lxt(style, composite, target):
    """The same by LXT's patches: input times its modified gradient."""
    network = Network(style).double()
    for module in network.modules():
        patch = _patch(module)
        if patch is not None:
            module.forward = patch
    modeling = sys.modules[type(network.net).__module__]
    attention = modeling.eager_attention_forward
    wrap = lxt.wrap_attention_forward if composite == "attnlrp" else lxt.cp_wrap_attention_forward
    modeling.eager_attention_forward = wrap(attention)
    try:
        leaf, logits = _run(network, Patched(network, composite), target)
    finally:
        modeling.eager_attention_forward = attention
    return leaf.detach() * torch.autograd.grad(logits.sum(), leaf)[0]


def _patch(module):
    """LXT's forward for the module, if it has one."""
    if isinstance(module, torch.nn.LayerNorm):
        return types.MethodType(lxt.layer_norm_forward, module)
    if hasattr(module, "variance_epsilon"):
        return types.MethodType(lxt.rms_norm_forward, module)
    if type(module).__name__ in ("LlamaMLP", "Qwen2MLP"):
        return types.MethodType(lxt.gated_mlp_forward, module)
    if "activation" in type(module).__module__ or isinstance(module, torch.nn.Tanh):
        function = module.forward
        return lambda x: identity_rule_implicit(function, x)
    return None
