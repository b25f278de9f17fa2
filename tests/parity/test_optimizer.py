"""Files that ONNX Runtime has fused: relevance is that of the export they were made from."""

from __future__ import annotations

import functools

import huggingface
import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.transformers import optimizer

import lrp_onnx

BOUND = 1e-5
MODELS = {"bert": "bert", "vit": "vit", "gpt2": "gpt2", "distilbert": "bert", "llama": "gpt2"}
MUST_FUSE = {
    "bert": {"Attention", "SkipLayerNormalization", "EmbedLayerNormalization"},
    "vit": {"BiasGelu"},
    "gpt2": {"SkipLayerNormalization"},
    "distilbert": {"SkipLayerNormalization"},
    "llama": {"SkipSimplifiedLayerNormalization"},
}
LEVELS = {
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
exported = functools.cache(huggingface.onnx_bytes)


def by_transformers(style, path):
    """The file as `onnxruntime.transformers.optimizer` writes it."""
    path.write_bytes(exported(style, "eager", "legacy"))
    fused = optimizer.optimize_model(
        str(path), MODELS[style], num_heads=4, hidden_size=32, opt_level=0
    )
    fused.save_model_to_file(str(path))
    return onnx.load(path)


def by_session(style, path, level):
    """The file as a session saves it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(path)
    source = exported(style, "eager", "legacy")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


def relevance(style, model, composite):
    result = lrp_onnx.compile(model, composite, target=2, check=False)
    session = onnxruntime.InferenceSession(
        result.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    arrays = (x.numpy() for x in huggingface.inputs(style))
    names = (value.name for value in session.get_inputs())
    return session.run(["x_relevance"], dict(zip(names, arrays, strict=True)))[0]


def assert_same(style, fused, composite):
    expected = relevance(
        style, onnx.load_from_string(exported(style, "eager", "legacy")), composite
    )
    difference = np.abs(relevance(style, fused, composite) - expected).max()
    scale = np.abs(expected).max()
    print(f"{style} {composite} {difference / scale:.1e}")
    assert difference <= BOUND * scale, f"max|d|/max|R| is {difference / scale:.1e}"


def operators(model):
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("composite", ["attnlrp", "cp-lrp"])
@pytest.mark.parametrize("style", MODELS)
def test_the_transformer_optimizer_changes_nothing(style, composite, tmp_path):
    fused = by_transformers(style, tmp_path / "m.onnx")
    print(sorted({n.op_type for n in fused.graph.node if n.domain}))
    assert operators(fused) >= MUST_FUSE[style]
    assert_same(style, fused, composite)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("style", MODELS)
def test_what_a_session_saved_changes_nothing(style, level, tmp_path):
    if (style, level) == ("vit", "all"):
        with pytest.raises(lrp_onnx.UnsupportedError, match="for one machine's memory layout"):
            relevance(style, by_session(style, tmp_path / "m.onnx", level), "attnlrp")
        return
    fused = by_session(style, tmp_path / "m.onnx", level)
    print(sorted({n.op_type for n in fused.graph.node if n.domain}))
    assert_same(style, fused, "attnlrp")
