"""AttnLRP on transformers after BERT, ViT and Llama: against the formulas in float64, and LXT 2.1.

LXT's stabiliser has no sign, so it is made so small on both sides that this is of no account.
A token of the image network is a patch.
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


TINY = {f"{rule}.epsilon": transformer.TINY for rule in ("epsilon", "norm", "bilinear")}
CASES = [(transformer.Exact, {}), (transformer.Lxt, TINY)]


def per_token(r):
    """Summed over the patches of an image or the width of an embedding."""
    if r.ndim == 4:
        r = r.reshape(len(r), 3, 2, 4, 3, 4).transpose(0, 2, 4, 1, 3, 5).reshape(len(r), 6, -1)
    return r.sum(-1)


def compiled(style, exporter, parameters):
    """Relevance of the compiled export."""
    net, x = transformer.Transformer(style).eval(), transformer.inputs(style)
    model = onnx.load_from_string(transformer.onnx_bytes(net, x, exporter))
    result = lrp_onnx.compile(
        model, composite="attnlrp", target=TARGET, parameters=parameters, check=False
    )
    session = onnxruntime.InferenceSession(result.model.SerializeToString())
    return session.run(["x_relevance"], {"x": x.numpy()})[0]


@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
@pytest.mark.parametrize("style", ["bert", "vit", "llama"])
@pytest.mark.parametrize(("rules", "parameters"), CASES, ids=["formulas", "LXT"])
def test_attnlrp_is_the_reference(style, exporter, rules, parameters):
    net, x = transformer.Transformer(style).eval(), transformer.inputs(style)
    expected = per_token(transformer.relevance(net, x, rules, TARGET).numpy())
    difference = np.abs(per_token(compiled(style, exporter, parameters)) - expected).max()
    scale = np.abs(expected).max()
    print(f"{style} {exporter} {rules.__name__} {difference / scale:.1e}")
    assert difference <= BOUND * scale, f"max|d|/max|R| is {difference / scale:.1e}"
