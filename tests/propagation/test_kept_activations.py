"""What an explanation keeps of the forward pass, as ONNX Runtime executes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models import network

import lrp_onnx

LAYERS = 4
DEEP = network(
    " ".join(
        f"z{k} = Conv<pads=[1,1,1,1]>({'x' if k == 0 else f'a{k - 1}'}, w{k}, b{k}) "
        f"a{k} = Relu(z{k})"
        for k in range(LAYERS)
    )
    + " g = GlobalAveragePool(a3) f = Flatten(g) y = Gemm<transB=1>(f, v, c)",
    (1, 3, 12, 12), v=(5, 32), c=(5,),
    **{f"w{k}": (32, 3 if k == 0 else 32, 3, 3) for k in range(LAYERS)},
    **{f"b{k}": (32,) for k in range(LAYERS)},
)  # fmt: skip
"""Channels enough for the runtime's blocked layout."""


RESIDUAL = network(
    "a = Conv<pads=[1,1,1,1]>(x, u, b) p = Relu(a) c = Conv<pads=[1,1,1,1]>(p, w, b) q = Relu(c) "
    "z = Conv<pads=[1,1,1,1]>(q, w, b) s = Add(z, p) r = Relu(s) g = GlobalAveragePool(r) "
    "f = Flatten(g) y = Gemm<transB=1>(f, v, d)",
    (1, 3, 12, 12), u=(32, 3, 3, 3), w=(32, 32, 3, 3), b=(32,), v=(5, 32), d=(5,),
)  # fmt: skip


def executed_places(
    composite: str, folder: Path, model: onnx.ModelProto = DEEP
) -> tuple[int, dict[str, int]]:
    """When the target is computed, and when each node."""
    compiled = lrp_onnx.compile(model, composite, check=False).model
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(
        compiled.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)
    session.run(None, {"x": x})
    events = json.loads(Path(session.end_profiling()).read_text())
    order = [
        e["name"].removesuffix("_kernel_time")
        for e in events
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")
    ]
    target = next(k for k, name in enumerate(order) if name.startswith("lrp/target/"))
    return target, {name: k for k, name in enumerate(order)}


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-alpha2-beta1"])
def test_shares_of_the_forward_pass_are_computed_in_it(composite: str, tmp_path: Path) -> None:
    target, places = executed_places(composite, tmp_path)
    shares = [f"lrp/z{k}/Div" for k in range(LAYERS)]
    assert [places[share] < target for share in shares] == [True] * LAYERS


def test_an_activation_is_kept_instead_where_its_product_comes_first(tmp_path: Path) -> None:
    """Then what R is divided by is computed when it is needed, from the activation before it."""
    target, places = executed_places("epsilon-plus", tmp_path)
    *earlier, last = (places[f"lrp/z{k}/Div"] > target for k in range(LAYERS))
    assert earlier == [True] * (LAYERS - 1)
    assert not last  # its relevance comes from a pool


def test_what_one_share_makes_of_another_is_computed_when_it_is_needed(tmp_path: Path) -> None:
    target, places = executed_places("epsilon-alpha2-beta1", tmp_path)
    behind_a_relu = [f"lrp/z{k}/Add_2" for k in range(1, LAYERS)]
    assert [places[divisor] > target for divisor in behind_a_relu] == [True] * (LAYERS - 1)


def test_the_size_of_a_share_is_computed_when_it_is_needed(tmp_path: Path) -> None:
    target, places = executed_places("gamma", tmp_path, RESIDUAL)
    assert places["lrp/z/Div"] < target < places["lrp/z/Mul_4"]
    assert target < places["lrp/z/Abs_4"]


def test_what_lowers_a_summand_is_computed_when_it_is_needed(tmp_path: Path) -> None:
    target, places = executed_places("alpha2-beta1", tmp_path, RESIDUAL)
    assert places["lrp/z/Div"] < target < places["lrp/z/Clip_2"] < places["lrp/z/Div_2"]
