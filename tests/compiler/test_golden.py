"""The graphs compiled from tiny networks, node by node, at three levels: relevance nodes, what the
rewrites make of them, and the operators of the standard.  A refactoring changes none.

After a change that is meant, `pytest tests/compiler/test_golden.py --update-golden -s` rewrites
them and prints the difference.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from graph_text import graphs_of
from models import network

GOLDEN = Path(__file__).parent / "golden"
CONV = network(
    "z = Conv<pads=[1,1,1,1]>(x, w, b) h = Relu(z) m = MaxPool<kernel_shape=[2,2], "
    "strides=[2,2]>(h) "
    "k = Conv(m, v) r = Relu(k) f = Flatten(r) y = Gemm<transB=1>(f, u, c)",
    (1, 2, 6, 6), w=(3, 2, 3, 3), b=(3,), v=(4, 3, 3, 3), u=(3, 4), c=(3,),
)  # fmt: skip
RESIDUAL = network(
    "z = Conv<pads=[1,1,1,1]>(x, w) s = Sigmoid(z) g = Mul(z, s) a = Add(g, x) p = "
    "GlobalAveragePool(a) "
    "f = Flatten(p) l = MatMul(f, v) o = Add(l, c) y = Softmax(o)",
    (1, 2, 4, 4), w=(2, 2, 3, 3), v=(2, 3), c=(3,),
)  # fmt: skip
BOX = {"low": -1.0, "high": 1.0}
ROWS = {
    "conv-epsilon": (CONV, "epsilon", {}),
    "conv-epsilon-plus-flat": (CONV, "epsilon-plus-flat", {}),
    "conv-epsilon-gamma-box": (CONV, "epsilon-gamma-box", BOX),
    "conv-alpha2-beta1": (CONV, "alpha2-beta1", {}),
    "conv-guided-backprop": (CONV, "guided-backprop", {}),
    "residual-epsilon": (RESIDUAL, "epsilon", {}),
    "residual-zplus": (RESIDUAL, "zplus", {}),
}


LEVELS = {"propagate": ".propagated", "rewrite": ".rewritten", "lower": ""}
"""The stages behind which a graph is written, and what their files are called."""


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ROWS)
def test_the_graph_is_the_golden_one(name, level, request):
    found = graphs_of(*ROWS[name])[level]
    file = GOLDEN / f"{name}{LEVELS[level]}.txt"
    golden = file.read_text(encoding="utf-8") if file.exists() else ""
    difference = "".join(difflib.unified_diff(golden.splitlines(True), found.splitlines(True)))
    if request.config.getoption("--update-golden"):
        print(difference)
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8")
    else:
        assert not difference, f"not the golden graph:\n{difference}"
