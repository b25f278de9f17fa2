"""LSTM and GRU against the rules of Arras et al. 2017 and 2019, written in numpy and float64 from
the papers' formulas.

A gate takes nothing, its signal all; a sum and a linear layer share relevance out in proportion,
with ε = 0.001 of the denominator's sign, of which the bias takes its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from models import Array, run
from onnx import helper, numpy_helper

import lrp_onnx

T, N, IN, H, OUT = 5, 3, 4, 3, 2
EPSILON = 0.001


@dataclass(frozen=True)
class Row:
    """An operator; with or without a bias, states to begin with, and linear_before_reset."""

    op: str
    bias: bool = True
    states: bool = False
    reset_last: int = 0

    def __str__(self) -> str:
        flags = [self.op] + ["unbiased"] * (not self.bias) + ["states"] * self.states
        return "-".join(flags + ["linear_before_reset"] * self.reset_last)


ROWS = [
    Row("LSTM"),
    Row("LSTM", bias=False),
    Row("LSTM", states=True),
    Row("GRU"),
    Row("GRU", bias=False, states=True),
    Row("GRU", reset_last=1),
    Row("GRU", states=True, reset_last=1),
]


def share(part: Array, whole: Array, relevance: Array) -> Array:
    """What a part of a sum gets: part / (whole ± ε) · R."""
    return part / (whole + EPSILON * np.where(whole >= 0, 1, -1)) * relevance


def linear(x: Array, w: Array, z: Array, relevance: Array) -> Array:
    """What x gets through z = x·wᵀ + …: Σ_k x_i w_ki / (z_k ± ε) · R_k."""
    return np.asarray(share(w * x[:, None, :], z[:, :, None], relevance[:, :, None]).sum(1))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def weights_of(row: Row) -> dict[str, Array]:
    rng = np.random.default_rng(11)
    g = 4 if row.op == "LSTM" else 3
    return {
        "W": rng.standard_normal((g * H, IN)),
        "R": rng.standard_normal((g * H, H)),
        "B": rng.standard_normal((2, g * H)) * row.bias,
        "V": rng.standard_normal((OUT, H)),
    }


def feeds_of(row: Row) -> dict[str, Array]:
    rng = np.random.default_rng(12)
    given = {"x": (T, N, IN), "h0": (N, H), "c0": (N, H)}
    found = {k: rng.standard_normal(shape) for k, shape in given.items()}
    return found if row.states else {**found, "h0": np.zeros((N, H)), "c0": np.zeros((N, H))}


def lstm(w: Mapping[str, Array], feeds: Mapping[str, Array], r_h: Array) -> dict[str, Array]:
    """Relevance of x, h0 and c0 from that of the last h; gate order i, o, f, c."""
    h, c, steps = feeds["h0"], feeds["c0"], []
    for x in feeds["x"]:
        i, o, f, z = np.split(x @ w["W"].T + h @ w["R"].T + w["B"].sum(0), 4, axis=1)
        news, kept = sigmoid(i) * np.tanh(z), sigmoid(f) * c
        steps.append((x, h, z, news, kept))
        c = kept + news
        h = sigmoid(o) * np.tanh(c)
    r_x, r_c = np.zeros_like(feeds["x"]), np.zeros((N, H))
    for t, (x, h, z, news, kept) in reversed([*enumerate(steps)]):
        r_c = r_c + r_h
        r_g, r_c = share(news, kept + news, r_c), share(kept, kept + news, r_c)
        r_x[t] = linear(x, w["W"][3 * H :], z, r_g)
        r_h = linear(h, w["R"][3 * H :], z, r_g)
    return {"x": r_x, "h0": r_h, "c0": r_c}


def gru(
    w: Mapping[str, Array], feeds: Mapping[str, Array], r_h: Array, reset_last: int
) -> dict[str, Array]:
    """Relevance of x and h0 from that of the last h; gate order z, r, h."""
    h, steps = feeds["h0"], []
    w_n, r_n = w["W"][2 * H :], w["R"][2 * H :]
    for x in feeds["x"]:
        a, b = x @ w["W"].T + w["B"][0], h @ w["R"].T + w["B"][1]
        z, r = sigmoid(a[:, :H] + b[:, :H]), sigmoid(a[:, H : 2 * H] + b[:, H : 2 * H])
        inner = r * b[:, 2 * H :] if reset_last else (r * h) @ r_n.T + w["B"][1, 2 * H :]
        pre = a[:, 2 * H :] + inner
        news, kept = (1 - z) * np.tanh(pre), z * h
        steps.append((x, h, r, pre, news, kept))
        h = news + kept
    r_x = np.zeros_like(feeds["x"])
    for t, (x, h, r, pre, news, kept) in reversed([*enumerate(steps)]):
        r_pre, r_h = share(news, news + kept, r_h), share(kept, news + kept, r_h)
        r_x[t] = linear(x, w_n, pre, r_pre)
        if reset_last:  # r scales the rows of R
            back = share(r[:, :, None] * r_n * h[:, None, :], pre[:, :, None], r_pre[:, :, None])
            r_h = r_h + back.sum(1)
        else:
            r_h = r_h + linear(r * h, r_n, pre, r_pre)
    return {"x": r_x, "h0": r_h}


def model_of(row: Row) -> onnx.ModelProto:
    """The operator, and a linear layer on its last h."""
    w, count = weights_of(row), 2 if row.op == "LSTM" else 1
    stored = {"W": w["W"][None], "R": w["R"][None], "V": w["V"]}
    stored |= {"B": w["B"].reshape(1, -1)} if row.bias else {}
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(v, np.float32), k) for k, v in stored.items()
    ]
    constants.append(numpy_helper.from_array(np.array([0]), "axis"))
    states = ["h0", "c0"][:count] if row.states else []
    nodes = [helper.make_node("Unsqueeze", [s, "axis"], [f"{s}_1"]) for s in states]
    inputs = ["x", "W", "R", "B" * row.bias, "", *(f"{s}_1" for s in states)]
    attributes = {"linear_before_reset": row.reset_last} if row.op == "GRU" else {}
    nodes += [
        helper.make_node(row.op, inputs, ["", "hn"], hidden_size=H, **attributes),
        helper.make_node("Squeeze", ["hn", "axis"], ["h"]),
        helper.make_node("Gemm", ["h", "V"], ["y"], transB=1),
    ]
    kind = onnx.TensorProto.FLOAT
    given = [helper.make_tensor_value_info("x", kind, [T, N, IN])]
    given += [helper.make_tensor_value_info(s, kind, [N, H]) for s in states]
    y = helper.make_tensor_value_info("y", kind, [N, OUT])
    graph = helper.make_graph(nodes, "g", given, [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_operator_is_explained_as_in_the_papers(row: Row) -> None:
    model, w, feeds = model_of(row), weights_of(row), feeds_of(row)
    given = {v.name: feeds[v.name].astype(np.float32) for v in model.graph.input}
    compiled = lrp_onnx.compile(
        model, "epsilon", target=1, parameters={"epsilon.epsilon": EPSILON}
    ).model
    found = run(compiled, given)
    last = run(model_with_h(model), given)["h"].astype(np.float64)
    logit = last @ w["V"].T
    r_h = share(last * w["V"][1], logit[:, 1:], logit[:, 1:])
    rule = lstm(w, feeds, r_h) if row.op == "LSTM" else gru(w, feeds, r_h, row.reset_last)
    np.testing.assert_allclose(found["y"], logit, atol=1e-5)
    for name in given:
        scale = np.abs(rule[name]).max()
        assert scale > 1e-2
        np.testing.assert_allclose(found[f"{name}_relevance"], rule[name], atol=1e-4 * scale)


def model_with_h(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its last h as an output."""
    more = onnx.ModelProto()
    more.CopyFrom(model)
    shape = [N, H]
    more.graph.output.append(helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, shape))
    return more


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"epsilon": 0.0}, ["cell (0.001)"]),
        ({"epsilon": 0.001}, []),
        ({"epsilon": 0.0, "cell.epsilon": 0.0}, []),
        ({"epsilon.epsilon": 0.0}, []),
    ],
    ids=str,
)
def test_the_cells_stabilizer_is_its_own(parameters: dict[str, float], told: list[str]) -> None:
    """Where a parameter is set for all rules and does not reach the cell's, that is said."""
    compiled = lrp_onnx.compile(model_of(Row("LSTM")), "epsilon", parameters=parameters)
    said = [text for text in compiled.warnings if text.startswith("--set epsilon")]
    assert len(said) == len(told)
    assert all(part in text for part, text in zip(told, said, strict=True))
