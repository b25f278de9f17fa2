"""Small networks of Hugging Face's architectures with random weights, and the files that exporters
and optimizers make of them.

Weights are large enough that attention is far from uniform and gates bend.
"""

from __future__ import annotations

import functools
import io
import tempfile
import warnings
from pathlib import Path

import huggingface
import onnx
import onnxruntime
import onnxslim
import torch
import transformers
from onnxruntime.transformers import optimizer

VISION = {"image_size": 16, "patch_size": 4, "num_labels": 5}
NETWORKS = {
    **{name: huggingface.NETWORKS[name] for name in ("bert", "vit", "llama")},
    "t5": (transformers.T5ForConditionalGeneration,
           transformers.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                                 num_decoder_layers=1, vocab_size=50, decoder_start_token_id=0,
                                 feed_forward_proj="gated-gelu")),
    "wav2vec2": (transformers.Wav2Vec2ForSequenceClassification,
                 transformers.Wav2Vec2Config(**huggingface.SIZES, conv_dim=(16, 16, 16),
                                             conv_kernel=(10, 3, 2), conv_stride=(5, 2, 2),
                                             num_conv_pos_embeddings=8, classifier_proj_size=16,
                                             num_conv_pos_embedding_groups=4, num_labels=5)),
    "convnext": (transformers.ConvNextForImageClassification,
                 transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1],
                                             image_size=32, num_labels=5)),
    "swin": (transformers.SwinForImageClassification,
             transformers.SwinConfig(embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=2,
                                     **VISION)),
}  # fmt: skip
FUSED_AS = {"llama": "gpt2", "vit": "vit", "swin": "swin", "t5": "t5", "convnext": "vit",
            "wav2vec2": "bert", "bert": "bert"}  # fmt: skip
ATTENTIONS = dict.fromkeys(NETWORKS, ("eager", "sdpa")) | {"convnext": ("eager",)}
EXPORTERS = ("legacy", "dynamo")
SEEDS = {"bert": 20, "vit": 12, "llama": 1, "t5": 4, "wav2vec2": 10, "convnext": 1, "swin": 14}
"""Of the inputs: no score is so near 0 there that float32 decides what it is, and the comparison is
sharp (a few 1e-6; Swin with seed 39, 1e-4).
"""


class Network(torch.nn.Module):
    """Inputs -> (N, classes): logits, or those behind the last token."""

    def __init__(self, name: str, attention: str):
        super().__init__()
        torch.manual_seed(0)
        of_class, config = NETWORKS[name]
        config._attn_implementation = attention
        self.name, self.net = name, of_class(config)
        for parameter in self.net.parameters():
            parameter.data.add_(torch.randn_like(parameter) / 5)
        self.eval().requires_grad_(False)

    def forward(self, x, mask=None):
        if self.name in ("vit", "swin", "convnext"):
            return self.net(pixel_values=x).logits
        if self.name == "wav2vec2":
            return self.net(input_values=x).logits
        if self.name == "t5":
            start = torch.zeros_like(x[:, :2]) + torch.tensor([0, 7])
            return self.net(x, mask, decoder_input_ids=start, use_cache=False).logits[:, -1]
        cache = {"use_cache": False} if self.name == "llama" else {}
        logits = self.net(input_ids=x, attention_mask=mask, **cache).logits
        return logits[:, -1] if self.name == "llama" else logits


def inputs(name: str) -> dict[str, torch.Tensor]:
    """Pictures, sound, or token ids and a mask; two samples of each.

    For T5 one: its mask is a lookup by numbers of samples, and so its samples are not known to be
    apart where their number is open; what integrated gradients lack is then spread over all.
    """
    if name in ("wav2vec2", "vit", "swin", "convnext"):
        size = getattr(NETWORKS[name][1], "image_size", 0)
        torch.manual_seed(SEEDS[name])
        return {"x": torch.randn(2, 3, size, size) if size else torch.randn(2, 260)}
    ids, mask = (v[1:] if name == "t5" else v for v in huggingface.inputs(name))
    torch.manual_seed(SEEDS[name])
    return {"x": torch.randint(3, 50, ids.shape), "mask": mask}


@functools.cache
def exported(name: str, attention: str, exporter: str) -> bytes:
    """The network by the old exporter, with dynamic axes, or the new one."""
    x, file = inputs(name), io.BytesIO()
    if exporter == "dynamo":
        options = {"dynamo": True, "external_data": False, "verbose": False}
    else:
        axes = {k: {0: "batch", 1: "tokens"} for k in x} if "mask" in x else {"x": {0: "batch"}}
        options = {"dynamo": False, "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network(name, attention), tuple(x.values()), file, input_names=[*x],
            output_names=["logits"], opset_version=18, **options,
        )  # fmt: skip
    return file.getvalue()


def as_exported(name: str, source: bytes) -> onnx.ModelProto:
    return onnx.load_from_string(source)


def by_transformers(name: str, source: bytes) -> onnx.ModelProto:
    """As `onnxruntime.transformers.optimizer` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.onnx")
        path.write_bytes(source)
        fused = optimizer.optimize_model(
            str(path), FUSED_AS[name], num_heads=4, hidden_size=32, opt_level=0
        )
        fused.save_model_to_file(str(path))
        return onnx.load(path)


def by_onnxslim(name: str, source: bytes) -> onnx.ModelProto:
    return onnxslim.slim(onnx.load_from_string(source))


def by_session(name: str, source: bytes, level: str = "EXTENDED") -> onnx.ModelProto:
    """As a session saves it: constants folded, nodes fused."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}"
        )
        options.optimized_model_filepath = str(Path(folder, "m.onnx"))
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


OPTIMIZERS = {
    "as exported": as_exported,
    "transformers.optimizer": by_transformers,
    "onnxslim": by_onnxslim,
    "session, extended": by_session,
    "session, basic": functools.partial(by_session, level="BASIC"),
}


@functools.cache
def spelling(name: str, attention: str, exporter: str, optimized: str) -> onnx.ModelProto:
    """One file of a network."""
    return OPTIMIZERS[optimized](name, exported(name, attention, exporter))
