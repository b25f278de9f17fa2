"""Relevance of both signs that is far larger than what is explained means nothing: that is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command
from models import network

from lrp_onnx.answer.samples import Sample, note_on
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verdict import Line, Part
from lrp_onnx.validate.verify import verify

# the first layer's sum is 1/400 of its terms
MODEL = network("h = Gemm(x, w)\n y = Gemm(h, v)", (1, 2), w=np.float32([[1], [-1]]), v=(1, 2))
X = {"blown up": np.float32([[1, 0.995]]), "sound": np.float32([[1, 0.2]])}


def test_it_is_said_with_the_node() -> None:
    request = CompileOptions(composite="epsilon", target=0)
    verdict = verify(MODEL, request, {"x": X["blown up"]})
    assert verdict.problems == ()
    assert "'x'" in verdict.ill_conditioned
    assert "398.4 times" in verdict.ill_conditioned
    assert "node 'h'" in verdict.ill_conditioned
    assert verify(MODEL, request, {"x": X["sound"]}).ill_conditioned == ""


def test_what_cancels_to_the_last_digits_is_no_wrong_account() -> None:
    request = CompileOptions(composite="epsilon", target=0)
    verdict = verify(MODEL, request, {"x": np.float32([[1, 1 - 3e-7]])})
    assert verdict.problems == ()
    assert "node 'h'" in verdict.ill_conditioned


def _line(name: str, magnitude: float, off: float) -> Line:
    return Line(name, "Gemm", "epsilon", off, magnitude, 0.0, 0.0, 0.0, 0.0, True)


def test_an_account_may_be_off_by_rounding_of_what_is_handed_on() -> None:
    lines = (_line("sum", 1.0, 3.0), _line("large", 1e5, 1.0), _line("wrong", 1.0, 1.0))
    part = Part("y", 1.0, {"x": 1.0}, lines, maps={"x": np.ones(2)})
    assert [line.name for line in part.rounded_off] == ["sum"]
    assert [problem.split("'")[1] for problem in part.problems()] == ["wrong"]
    assert "node 'sum'" in part.ill_conditioned()


@pytest.mark.parametrize("name", X)
def test_verify_and_explain(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(MODEL, "model.onnx")
    np.save("x.npy", X[name])
    asked = ("model.onnx", "x.npy", "--composite", "epsilon")
    outcome = run_command(capsys, "verify", *asked)
    ill = name == "blown up"
    assert outcome.status == int(ill)
    assert ("ill-conditioned" in outcome.out) == ("ill-conditioned" in outcome.err) == ill
    outcome = run_command(capsys, "explain", *asked, "-o", "out.npz")
    assert ("means nothing" in outcome.out) == ill


def test_what_is_absorbed_is_no_matter_then() -> None:
    note = note_on([Sample("", "", 1.0, -5.0, magnitude=1e4)])
    assert "1e+04 times" in note
    assert "absorbed" not in note


BIASED = network("y = Gemm(x, w, b)", (1, 1), w=np.float32([[-1]]), b=np.float32([3]))
"""At 1 the bias gives 3 of 2, and the input -1, at 3.2 it gives 3 of -0.2."""
SUMS = {
    1: "sums to -1 where 2 is explained: its sign is against",
    -1: "",
    0.1: "",
    2.5: "sums to -2.5 where 0.5 is explained: its sign is against",
    3.2: "sums to -3.2 where -0.2 is explained: that is 16 times as much",
    3.5: "sums to -3.5 where -0.5 is explained: that is 7 times as much",
    4: "",
}
"""By the input, what is said."""


def test_a_sum_out_of_proportion_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(BIASED, "model.onnx")
    request = CompileOptions(composite="epsilon", target=0)
    for x, words in SUMS.items():
        np.save("x.npy", np.float32([[x]]))
        verdict = verify(BIASED, request, {"x": np.float32([[x]])})
        assert verdict.problems == ()
        assert words in verdict.ill_conditioned
        assert ("the biases took 3" in verdict.ill_conditioned) is bool(words)
        asked = ("model.onnx", "x.npy", "--composite", "epsilon")
        assert run_command(capsys, "verify", *asked).status == bool(words)
        said = run_command(capsys, "explain", *asked, "-o", "out.npz").out
        assert ("cannot be trusted" in " ".join(said.split())) is bool(words)
