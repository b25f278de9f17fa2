"""One network has one relevance, whatever exported and optimized it.

Here each network is taken in few spellings, which cover every exporter, attention and optimizer.
`python tests/parity/test_exporters.py [NETWORK …]` prints the table of all of them, for every
composite and gradient method.
"""

from __future__ import annotations

import functools
import io
import itertools
import sys
import warnings

import architectures
import numpy as np
import onnx
import onnxruntime
import pytest
import reparameterized
import torch

import lrp_onnx

BOUND = 1e-4
"""Of max|R|, or five times what the order of float32 operations makes of it."""
COMPOSITES = ("attnlrp", "cp-lrp", "epsilon", "epsilon-plus-flat", "gamma")
METHODS = (*COMPOSITES, "gradient", "input-x-gradient", "integrated-gradients")
ANALYTICALLY_ZERO = ("bert", "gradient")
"""A LayerNorm follows the embedding: its gradient sums up to 0, what is left is rounding."""
FIRST = ("eager", "legacy", "as exported")
PLAIN = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL

FEW = (
    ("eager", "legacy", "transformers.optimizer"),
    ("sdpa", "dynamo", "as exported"),
    ("sdpa", "dynamo", "session, basic"),
)
OTHERS = {
    "bert": ("sdpa", "dynamo", "onnxslim"),
    "wav2vec2": ("eager", "legacy", "onnxslim"),
    "swin": ("sdpa", "dynamo", "session, extended"),
    "llama": ("eager", "legacy", "session, extended"),
    "vit": ("sdpa", "dynamo", "transformers.optimizer"),
}
ROWS = [
    (name, (attention if attention in architectures.ATTENTIONS[name] else "eager", *row))
    for name in architectures.NETWORKS
    for attention, *row in (*FEW, *([OTHERS[name]] if name in OTHERS else []))
]
FEW_METHODS = ("attnlrp", "epsilon-plus-flat", "integrated-gradients")


def run(model, method, x, level=ALL):
    """The relevance of class 2 at the input."""
    how = {"composite": method} if method in COMPOSITES else {"method": method}
    compiled = lrp_onnx.compile(model, target=2, check=False, **how)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 3
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    arrays = dict(zip(names, (v.numpy() for v in x), strict=True))
    return session.run(["x_relevance"], arrays)[0]


def relevance(name, spelling, method, level=ALL):
    model = architectures.spelling(name, *spelling)
    return run(model, method, architectures.inputs(name).values(), level)


@functools.cache
def expected(name, method, level=ALL):
    """That of the first spelling."""
    return relevance(name, FIRST, method, level)


def distance(r, other):
    return float(np.abs(r - other).max() / np.abs(other).max())


@functools.cache
def floor(name, method):
    """What the runtime's own optimizations make of the first spelling's relevance."""
    return distance(expected(name, method, PLAIN), expected(name, method))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ", ".join([row[0], *row[1]]))
def test_one_network_has_one_relevance(row):
    name, spelling = row
    for method in FEW_METHODS:
        found = distance(relevance(name, spelling, method), expected(name, method))
        print(f"{name} {', '.join(spelling)} {method} {found:.1e} ({floor(name, method):.1e})")
        assert found <= max(BOUND, 5 * floor(name, method))


def exported(network, x, exporter):
    """By an exporter; `kept`: with its BatchNorms."""
    file, options = io.BytesIO(), {"dynamo": False}
    if exporter == "dynamo":
        options = {"dynamo": True, "external_data": False, "verbose": False}
    elif exporter == "kept":
        kept = torch.onnx.TrainingMode.PRESERVE
        options |= {"training": kept, "do_constant_folding": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (x,), file, input_names=["x"], output_names=["y"], opset_version=18, **options
        )
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("exporter", ["legacy", "kept", "dynamo"])
@pytest.mark.parametrize("name", reparameterized.BLOCKS)
def test_merging_branches_changes_nothing(name, exporter):
    trained, merged = reparameterized.networks(name)
    torch.manual_seed(1)
    x = torch.randn(2, 3, reparameterized.SIDE, reparameterized.SIDE)
    assert distance(trained(x).numpy(), merged(x).numpy()) < 1e-6
    one, other = exported(trained, x, exporter), exported(merged, x, "legacy")
    for method in METHODS:
        found = distance(run(one, method, [x]), run(other, method, [x]))
        print(f"{name} {exporter} {method} {found:.1e}")
        assert found <= BOUND


def every_spelling(name):
    return itertools.product(
        architectures.ATTENTIONS[name], architectures.EXPORTERS, architectures.OPTIMIZERS
    )


def table(names):
    """Each spelling's distance to the first by method; ! where it is too far."""
    print(f"{'':56}" + " ".join(f"{method[:9]:>9}" for method in METHODS))
    for name in names:
        methods = [m for m in METHODS if (name, m) != ANALYTICALLY_ZERO]
        floors = {method: floor(name, method) for method in methods}
        print(f"{name:10}{'floor':46}" + " ".join(cell(floors.get(m)) for m in METHODS))
        for spelling in every_spelling(name):
            row = {m: distance(relevance(name, spelling, m), expected(name, m)) for m in methods}
            far = [m for m in methods if row[m] > max(BOUND, 5 * floors[m])]
            cells = [cell(row.get(m)) + "!" * (m in far) for m in METHODS]
            print(f"{name:10}{', '.join(spelling):46}" + " ".join(cells), flush=True)


def cell(number):
    return f"{'-':>9}" if number is None else f"{number:9.1e}"


if __name__ == "__main__":
    table(sys.argv[1:] or architectures.NETWORKS)
