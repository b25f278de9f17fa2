"""The networks of benchmark.py: torchvision's architectures, the last two without ReLU, and a
transformer of BERT-base's size.

Their weights are seeded, BatchNorm has the statistics of random pictures; speed does not depend on
what a network has learnt. Exported once, BatchNorm apart, into the cache of obtain.py; that alone
needs torch, torchvision, transformers and onnxscript.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from obtain import Unavailable, cache, write

__all__ = ["PICTURES", "SMOOTH", "TOKENS", "TRANSFORMER", "feeds", "onnx_file", "torch_network"]

PICTURES = ("vgg16", "resnet50", "mobilenet_v2")
SMOOTH = ("efficientnet_b0", "convnext_tiny")
"""Networks without ReLU."""
TRANSFORMER = "bert_base"
TOKENS = 128
LOW, HIGH = -2.0, 2.0
"""The range of the pictures."""


def onnx_file(name: str) -> Path:
    """The exported network, made if it is not in the cache. Raises Unavailable without torch."""
    path = cache() / "benchmark" / f"{name}.onnx"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write(path, _exported(name))
    return path


def feeds(name: str, batch: int) -> dict[str, NDArray[Any]]:
    """A seeded input: pictures within LOW … HIGH, or token ids."""
    rng = np.random.default_rng(0)
    if name == TRANSFORMER:
        return {"input_ids": rng.integers(1000, 30000, (batch, TOKENS))}
    coarse = rng.uniform(LOW, HIGH, (batch, 3, 28, 28)).astype(np.float32)
    return {"input": np.ascontiguousarray(coarse.repeat(8, 2).repeat(8, 3))}


def torch_network(name: str) -> Any:
    """The network in torch, float32, evaluating. Raises Unavailable where a package is missing."""
    try:
        import torch
        from export import skip_torchvision_kernels

        skip_torchvision_kernels()
        torch.manual_seed(0)
        return _transformer() if name == TRANSFORMER else _calibrated(name)
    except ModuleNotFoundError as error:
        raise Unavailable(f"{name} is made here, which needs {error.name}") from error


def _calibrated(name: str) -> Any:
    import torch
    import torchvision

    net = getattr(torchvision.models, name)(weights=None)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.0)
        torch.nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = None  # the average of what it sees
    if norms:
        with torch.no_grad():
            net.train()(torch.from_numpy(feeds(name, 8)["input"]))
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.05)
    return net.eval()


def _transformer() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(num_labels=2, attn_implementation="eager")
    return BertForSequenceClassification(config).eval()


def _exported(name: str) -> bytes:
    net = torch_network(name)
    import torch

    given = {key: torch.from_numpy(array) for key, array in feeds(name, 1).items()}
    (key,) = given
    file, apart = io.BytesIO(), torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, tuple(given.values()), file, dynamo=False, opset_version=17,
            input_names=[key], output_names=["logits"],
            dynamic_axes={key: {0: "batch"}, "logits": {0: "batch"}},
            training=torch.onnx.TrainingMode.EVAL if name == TRANSFORMER else apart,
            do_constant_folding=name == TRANSFORMER,
        )  # fmt: skip
    return file.getvalue()
