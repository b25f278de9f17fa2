"""AttnLRP on transformers after BERT, ViT and Llama: against the formulas in float64, and LXT 2.1.

LXT's stabiliser has no sign, so that outputs near zero get another share there.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import transformer

import lrp_onnx

BOUND = 1e-4
TARGET = 2


def per_token(r):
    """Summed over the channels of an image or the width of an embedding."""
    return r.sum(1) if r.ndim == 4 else r.sum(-1)


def compiled(style, exporter, composite="attnlrp"):
    """Relevance of the compiled export."""
    net, x = transformer.Transformer(style).eval(), transformer.inputs(style)
    model = onnx.load_from_string(transformer.onnx_bytes(net, x, exporter))
    result = lrp_onnx.compile(model, composite=composite, target=TARGET, check=False)
    session = onnxruntime.InferenceSession(result.model.SerializeToString())
    names = [o.name for o in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"x": x.numpy()}), strict=True))
    return outputs["x_relevance"]


@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
@pytest.mark.parametrize("style", ["bert", "vit", "llama"])
@pytest.mark.parametrize("rules", [transformer.Exact, transformer.Lxt], ids=lambda r: r.__name__)
def test_attnlrp_is_the_reference(style, exporter, rules):
    net, x = transformer.Transformer(style).eval(), transformer.inputs(style)
    expected = per_token(transformer.relevance(net, x, rules, TARGET).numpy())
    difference = np.abs(per_token(compiled(style, exporter)) - expected).max()
    print(style, exporter, rules.__name__, difference / np.abs(expected).max())
    assert difference <= BOUND * np.abs(expected).max()
