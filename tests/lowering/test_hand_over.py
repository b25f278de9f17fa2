"""What the backward of a Scan reads of its forward is handed over, not computed again."""

from __future__ import annotations

import numpy as np
import pytest
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx.lowering import hand_over

LSTM = network(
    "z, h = LSTM<hidden_size=4>(x, w, r, b) s = Squeeze(h, o) y = MatMul(s, v)",
    (5, "N", 3), w=(1, 16, 3), r=(1, 16, 4), b=(1, 32), v=(4, 2), o=np.array([0]),
)  # fmt: skip
GRU = network(
    "z, h = GRU<hidden_size=4, linear_before_reset=1>(x, w, r, b) s = Squeeze(h, o) "
    "y = MatMul(s, v)",
    (5, "N", 3), w=(1, 12, 3), r=(1, 12, 4), b=(1, 24), v=(4, 2), o=np.array([0]),
)  # fmt: skip
X = {"x": np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)}
METHODS = ({"composite": "epsilon"}, {"composite": "attnlrp"}, {"method": "gradient"})


def bodies(model):
    """Of the forward and of the backward Scan."""
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    return [next(a.g for a in node.attribute if a.name == "body") for node in scans]


def products(body):
    return sum(node.op_type in ("Gemm", "MatMul") for node in body.node)


@pytest.mark.parametrize("options", METHODS, ids=["epsilon", "attnlrp", "gradient"])
@pytest.mark.parametrize("model", [LSTM, GRU], ids=["LSTM", "GRU"])
def test_relevance_is_that_of_what_is_computed_again(model, options, monkeypatch):
    near = run(lrp_onnx.compile(model, **options).model, X)
    monkeypatch.setattr(hand_over, "MOST", 0)
    again = lrp_onnx.compile(model, **options).model
    far = run(again, X)
    assert np.array_equal(near["y"], far["y"])
    plain = run(lrp_onnx.compile(model, **options, optimize=False).model, X)
    assert_close(near["x_relevance"], far["x_relevance"])
    assert_close(near["x_relevance"], plain["x_relevance"])
    assert products(bodies(again)[1]) > products(bodies(again)[0])


def test_the_backward_has_the_products_of_relevance_alone():
    forward, backward = bodies(lrp_onnx.compile(LSTM, "epsilon").model)
    assert products(forward) == 2
    assert products(backward) == 1
    made = {name for node in backward.node for name in node.output}
    read = {name for node in backward.node for name in node.input} | {
        v.name for v in backward.output
    }
    assert {v.name for v in backward.input} <= read
    assert {v.name for v in forward.output} <= {n for node in forward.node for n in node.output}
    copies = [node for node in backward.node if node.op_type == "Identity"]
    assert not any(node.input[0] in made for node in copies)


def test_a_part_of_a_sum_is_not_divided_by_what_it_was_multiplied_with():
    """W·x and R·h of a GRU get what the sum gave them, z · c or r · z · c: R / z needs no zeros."""
    _, backward = bodies(lrp_onnx.compile(GRU, "epsilon").model)
    kinds = [node.op_type for node in backward.node]
    assert "Equal" not in kinds
    assert kinds.count("Div") == 2


def test_without_an_epsilon_a_multiple_of_z_is_not_divided():
    model = network("z = MatMul(x, w) k = MatMul(z, u) y = MatMul(k, v)",
                    ("N", 4), w=(4, 5), u=(5, 3), v=(3, 2))  # fmt: skip
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    zero = {"parameters": {"epsilon": 0}}
    short, plain = (
        lrp_onnx.compile(model, "epsilon", optimize=optimize, **zero).model
        for optimize in (True, False)
    )
    assert_close(*(run(m, feeds)["x_relevance"] for m in (short, plain)))
    divisions = ([n.op_type for n in m.graph.node].count("Div") for m in (short, plain))
    assert tuple(divisions) == (1, 3)  # what relevance starts with is no product yet


def test_every_further_output_is_read():
    model = lrp_onnx.compile(LSTM, "epsilon").model
    forward, backward = (node for node in model.graph.node if node.op_type == "Scan")
    assert set(forward.output[3:]) <= set(backward.input)
