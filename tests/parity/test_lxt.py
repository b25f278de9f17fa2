"""AttnLRP on transformers after BERT, ViT and Llama: against the formulas in float64, and LXT 2.1.

LXT's stabilizer has no sign, so it is made so small on both sides that this is of no account.
A token of the image network is a patch. The same with Hugging Face's own classes, CP-LRP too.
"""

from __future__ import annotations

import functools

import huggingface
import huggingface_rules
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


@functools.cache
def own_bytes(style, exporter):
    net, x = transformer.Transformer(style).eval(), transformer.inputs(style)
    return transformer.onnx_bytes(net, x, exporter)


def compiled(style, exporter, parameters):
    """Relevance of the compiled export."""
    x = transformer.inputs(style)
    model = onnx.load_from_string(own_bytes(style, exporter))
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


EXPORTS = [
    ("bert", "eager", "legacy"),
    ("bert", "sdpa", "dynamo"),
    ("vit", "sdpa", "legacy"),
    ("vit", "eager", "dynamo"),
    ("llama", "sdpa", "legacy"),
    ("llama", "eager", "dynamo"),
    ("roberta", "sdpa", "legacy"),
    ("distilbert", "sdpa", "legacy"),
    ("qwen2", "eager", "legacy"),
    ("gpt2", "sdpa", "legacy"),
    ("t5", "eager", "legacy"),
]
REFERENCES = [(huggingface_rules.by_formulas, {}), (huggingface_rules.by_lxt, TINY)]
exported = functools.cache(huggingface.onnx_bytes)


def of_export(export, composite, parameters):
    """Relevance of the compiled export of one of Hugging Face's networks."""
    if composite == "cp-lrp":  # has no product of two activations in its attention
        parameters = {name: v for name, v in parameters.items() if name != "bilinear.epsilon"}
    result = lrp_onnx.compile(
        exported(*export), composite, target=TARGET, parameters=parameters, check=False
    )
    session = onnxruntime.InferenceSession(result.model.SerializeToString())
    half = np.float16 if export[-1] is True else np.float32
    arrays = (x.numpy() for x in huggingface.inputs(export[0]))
    arrays = (x.astype(half) if x.dtype.kind == "f" else x for x in arrays)
    names = (value.name for value in session.get_inputs())
    return session.run(["x_relevance"], dict(zip(names, arrays, strict=True)))[0]


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp"])
@pytest.mark.parametrize(("reference", "parameters"), REFERENCES, ids=["formulas", "LXT"])
@pytest.mark.parametrize("export", EXPORTS, ids="-".join)
def test_huggingface_is_the_reference(export, composite, reference, parameters):
    expected = huggingface.per_token(reference(export[0], composite, TARGET).numpy())
    found = huggingface.per_token(of_export(export, composite, parameters))
    difference, scale = np.abs(found - expected).max(), np.abs(expected).max()
    print(f"{'-'.join(export)} {composite} {reference.__name__} {difference / scale:.1e}")
    assert difference <= BOUND * scale, f"max|d|/max|R| is {difference / scale:.1e}"


HALF = {"bert": 5e-3, "llama": 2e-3, "gpt2": 5e-3, "vit": 8e-2}
"""Bounds in float16, whose rounding of activations the rules amplify where they cancel."""


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp"])
@pytest.mark.parametrize("style", HALF)
def test_huggingface_in_half_precision(style, composite):
    expected = huggingface.per_token(
        huggingface_rules.by_formulas(style, composite, TARGET).numpy()
    )
    found = of_export((style, "eager", "legacy", True), composite, {}).astype(np.float64)
    found = huggingface.per_token(found)
    difference, scale = np.abs(found - expected).max(), np.abs(expected).max()
    print(f"{style} half {composite} {difference / scale:.1e}")
    assert difference <= HALF[style] * scale, f"max|d|/max|R| is {difference / scale:.1e}"
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
