"""The largest and the smallest of many: one of equals wins, and each input costs as much."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_close, network, run

import lrp_onnx

MANY = 40
FACTORS = np.random.default_rng(3).permutation(np.repeat(np.arange(1, 21), 2) - 10)


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_of_many_the_first_or_a_constant_wins(op_type: str) -> None:
    """Factors stand there twice, and the constant is what some of the products are."""
    body = " ".join(f"p{k} = Mul(x, f{k})" for k in range(MANY))
    names = [f"p{k}" for k in range(MANY)]
    names.insert(25, "level")
    body += f" y = {op_type}({', '.join(names)})"
    factors = {f"f{k}": np.float32([[[f]]] if k % 2 else f) for k, f in enumerate(FACTORS)}
    level = np.float32([10, -9, 3])
    model = network(body, (2, 3), level=level, **factors)
    x = np.float32([[1, 1, 1], [-1, -0.25, 0]])
    compiled = lrp_onnx.compile(model, method="gradient", target="all", class_axis=2)
    found = run(compiled.model, {"x": x})
    products = FACTORS[:, None, None] * x
    best = products.max(0) if op_type == "Max" else products.min(0)
    wins = best > level if op_type == "Max" else best < level
    extreme = FACTORS.max() if op_type == "Max" else FACTORS.min()
    other = FACTORS.min() if op_type == "Max" else FACTORS.max()
    slope = np.where(x > 0, extreme, np.where(x < 0, other, FACTORS[0]))
    assert_close(found["y"][0], np.where(wins, best, level))
    assert_close(found["x_relevance"], np.where(wins, slope, 0))


def test_nodes_grow_with_the_inputs() -> None:
    def nodes(n: int) -> int:
        body = " ".join(f"p{k} = Mul(x, f{k})" for k in range(n))
        model = network(
            f"{body} y = Max({', '.join(f'p{k}' for k in range(n))})",
            (2, 3),
            **{f"f{k}": np.float32(k) for k in range(n)},
        )
        compiled = lrp_onnx.compile(model, method="gradient", check=False).model
        return sum(len(node.input) for node in compiled.graph.node)

    assert nodes(300) < 3.2 * nodes(100)
