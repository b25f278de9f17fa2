"""One network from several exporters and optimizers has one relevance.

`python tests/parity/test_exporters.py [NETWORK …]` prints the whole table: every exporter,
attention and optimizer under every composite and gradient method.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time

import architectures
import numpy as np
import onnx
import onnxruntime
import pytest

import lrp_onnx

BOUND = 1e-4
"""Of max|R|, against the first spelling; or five times what rounding alone makes of it."""
METHODS = ("attnlrp", "cp-lrp", "epsilon", "epsilon-plus-flat", "gamma", "gradient",
           "integrated-gradients")  # fmt: skip
FIRST = ("eager", "legacy", "as exported")
PLAIN = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


def relevance(name, model, method, level=ALL):
    """The relevance of class 2 at the network's input."""
    how = {"composite": method}
    if method.endswith("gradient") or method.endswith("gradients"):
        how = {"method": method}
    compiled = lrp_onnx.compile(model, target=2, check=False, **how)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 3
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    arrays = [x.numpy() for x in architectures.inputs(name).values()]
    names = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    r, y = session.run(["x_relevance", outputs[0]], dict(zip(names, arrays, strict=True)))
    return r, y


@functools.cache
def expected(name, method, level=ALL):
    """That of the first spelling."""
    return relevance(name, architectures.spelling(name, *FIRST), method, level)


def distance(r, other):
    return float(np.abs(r - other).max() / np.abs(other).max())


def floor(name, method):
    """What the order of the same float32 operations makes of it."""
    return distance(expected(name, method, PLAIN)[0], expected(name, method)[0])


def table(names):
    for name in names:
        spellings = list(itertools.product(
            architectures.ATTENTIONS[name], architectures.EXPORTERS, architectures.OPTIMIZERS))
        floors = {m: floor(name, m) for m in METHODS}
        print(f"{name:10}{'floor':44}" + " ".join(f"{floors[m]:9.1e}" for m in METHODS), flush=True)
        for s in spellings:
            row = []
            start = time.time()
            try:
                model = architectures.spelling(name, *s)
            except Exception as e:
                print(f"{name:10}{', '.join(s):44}", "cannot be made:", str(e)[:80])
                continue
            for m in METHODS:
                try:
                    r, y = relevance(name, model, m)
                    d = distance(r, expected(name, m)[0])
                    dy = distance(y, expected(name, m)[1])
                    row.append(f"{d:9.1e}{' ' if d <= max(BOUND, 5*floors[m]) else '!'}" + ("" if dy<1e-5 else f"y{dy:.0e}"))
                except Exception as e:
                    row.append(f"{type(e).__name__}: {str(e)[:300]}\n")
            print(f"{name:10}{', '.join(s):44}" + "".join(row), f"{time.time()-start:.0f} s", flush=True)


if __name__ == "__main__":
    print(f"{'':54}" + " ".join(f"{m[:9]:>9}" for m in METHODS))
    table(sys.argv[1:] or architectures.NETWORKS)
