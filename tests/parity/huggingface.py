"""Hugging Face's own transformers with random weights, and their ONNX exports.

A decoder's left padding and an encoder's right padding are masked.
"""

from __future__ import annotations

import io
import warnings

import networks  # noqa: F401  (torchvision becomes importable, which transformers needs)
import torch
import transformers

TOKENS, PATCH = 7, 4
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TEXT = {
    **SIZES,
    "vocab_size": 50,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**TEXT, "num_key_value_heads": 2}

NETWORKS = {
    "bert": (transformers.BertForSequenceClassification,
             transformers.BertConfig(**TEXT, num_labels=5)),
    "roberta": (transformers.RobertaForSequenceClassification,
                transformers.RobertaConfig(**TEXT, num_labels=5)),
    "distilbert": (transformers.DistilBertForSequenceClassification,
                   transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64,
                                                 vocab_size=50, num_labels=5)),
    "vit": (transformers.ViTForImageClassification,
            transformers.ViTConfig(**SIZES, image_size=12, patch_size=PATCH, num_labels=5)),
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig(**GROUPED)),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config(**GROUPED)),
    "gpt2": (transformers.GPT2LMHeadModel,
             transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=32,
                                     bos_token_id=1, eos_token_id=2)),
    "t5": (transformers.T5EncoderModel,
           transformers.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                                 vocab_size=50)),
}  # fmt: skip
DECODERS = ("llama", "qwen2", "gpt2")


class Network(torch.nn.Module):
    """Inputs -> (N, classes): logits, those behind the last token, or T5's first token."""

    def __init__(self, style, attention="eager"):
        super().__init__()
        torch.manual_seed(0)
        of_class, config = NETWORKS[style]
        config._attn_implementation = attention
        self.style, self.net = style, of_class(config)
        for parameter in self.net.parameters():
            parameter.data.add_(torch.randn_like(parameter) / 5)
        self.eval().requires_grad_(False)

    def forward(self, x, mask=None):
        if self.style == "vit":
            return self.net(pixel_values=x).logits
        cache = {"use_cache": False} if self.style in DECODERS else {}
        found = self.net(input_ids=x, attention_mask=mask, **cache)
        if self.style == "t5":
            return found.last_hidden_state[:, 0]
        return found.logits[:, -1] if self.style in DECODERS else found.logits


def inputs(style):
    """An image (2, 3, 12, 12), or token ids and a mask (2, TOKENS), the second of them padded."""
    torch.manual_seed(2)
    if style == "vit":
        return (torch.randn(2, 3, 12, 12),)
    ids, mask = torch.randint(3, 50, (2, TOKENS)), torch.ones(2, TOKENS, dtype=torch.long)
    mask[1, slice(0, 2) if style in DECODERS else slice(TOKENS - 2, TOKENS)] = 0
    return ids, mask


def per_token(r):
    """Summed over the patches of an image or the width of an embedding."""
    if r.ndim == 4:
        n = r.shape[-1] // PATCH
        r = r.reshape(len(r), 3, n, PATCH, n, PATCH).transpose(0, 2, 4, 1, 3, 5)
        r = r.reshape(len(r), n * n, -1)
    return r.sum(-1) if r.ndim == 3 else r


def onnx_bytes(style, attention, exporter, half=False):
    """The network exported by the old exporter, with dynamic axes, or the new one; in float16."""
    x, names, file = inputs(style), ["x", "mask"], io.BytesIO()
    network = Network(style, attention)
    if half:
        network, x = network.half(), tuple(v.half() if v.is_floating_point() else v for v in x)
    if exporter == "dynamo":
        options = {"dynamo": True, "external_data": False, "verbose": False}
    else:
        axes = {} if style == "vit" else {name: {0: "batch", 1: "tokens"} for name in names}
        options = {"dynamo": False, "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, x, file, input_names=names[: len(x)],
            output_names=["logits"], opset_version=18, **options,
        )  # fmt: skip
    return file.getvalue()
