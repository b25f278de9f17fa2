"""What looks like a softmax or a norm and was not recognized as one counts in `verify`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command
from models import network

from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

BODY = "h = Gemm(x, w) e = Exp(h) {} n = Div(e, s) y = Gemm(n, v)"
SUM = "s = ReduceSum(e, last)"
MODELS = {
    name: network(BODY.format(total), (2, 3), w=(3, 4), v=(4, 2), last=np.array([-1]))
    for name, total in {"softmax": SUM, "squares": f"q = Mul(e, e) {SUM[:14]}q, last)"}.items()
}


def test_the_node_is_named_and_everything_holds() -> None:
    verdict = verify(MODELS["squares"], CompileOptions(composite="attnlrp", target=0))
    assert verdict.problems == ()
    assert verdict.unrecognized == ("'n' (Div)",)
    assert not verdict.holds_fully
    assert verify(MODELS["softmax"], CompileOptions(composite="attnlrp", target=0)).holds_fully


def test_a_gradient_needs_no_recognition() -> None:
    verdict = verify(MODELS["squares"], CompileOptions(method="gradient"))
    assert verdict.holds_fully


@pytest.mark.parametrize("name", MODELS)
def test_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(MODELS[name], "model.onnx")
    asked = ("verify", "model.onnx", "--composite", "attnlrp", "--target", "0")
    outcome = run_command(capsys, *asked)
    told = name == "squares"
    assert outcome.status == int(told)
    verdict = " ".join(outcome.out.partition("verdict")[2].split())
    assert verdict.startswith("holds: the forward is unchanged, every account adds up")
    assert ("was not recognized as one: 'n' (Div)" in verdict) == told
    outcome = run_command(capsys, *asked, "--json")
    assert json.loads(outcome.out)["unrecognized"] == (["'n' (Div)"] if told else [])
    assert outcome.status == int(told)
