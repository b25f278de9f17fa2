"""A reference value for regression: relevance sums to f - f_ref, shared out as that of f is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import run_command
from models import Array, assert_close, network, run

import lrp_onnx
from lrp_onnx import Explainer, LrpError
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.verify import verify

# no bias: all relevance arrives
MODEL = network("h = Gemm(x, w)\n r = Relu(h)\n y = Gemm(r, v)", (2, 4), w=(4, 6), v=(6, 1))
SEVERAL = network("h = Gemm(x, w)\n r = Relu(h)\n y = Gemm(r, v)", (2, 4), w=(4, 6), v=(6, 3))
SOFTMAX = network("h = Gemm(x, w)\n y = Softmax(h)", (2, 4), w=(4, 3))
RNG = np.random.default_rng(1)
X = RNG.standard_normal((3, 4)).astype(np.float32)
X0 = RNG.standard_normal((1, 4)).astype(np.float32)


def relevance(model: onnx.ModelProto, **request: Any) -> Array:
    compiled = lrp_onnx.compile(model, "epsilon", **request)
    return Explainer(compiled)(X).relevance["x"]


@pytest.mark.parametrize("reference", [2.5, "2.5", -3, 0])
@pytest.mark.parametrize("optimize", [True, False])
def test_relevance_sums_to_the_difference(reference: Any, optimize: bool) -> None:
    y = run(MODEL, {"x": X})["y"]
    found = relevance(MODEL, reference=reference, optimize=optimize)
    assert_close(found.sum(1, keepdims=True), y - float(reference), 1e-4)
    plain = relevance(MODEL, optimize=optimize)
    assert_close(found, plain * (y - float(reference)) / y, 1e-4)  # in proportion, as for f


@pytest.mark.parametrize("target", ["argmax", 1, "all", "0-2", "max", "top-2"])
def test_every_entry_has_its_own_reference(target: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x0.npy", X0)
    y, y0 = (run(SEVERAL, {"x": x})["y"] for x in (X, X0))
    best = y.argmax(1)
    less = y - y0
    rows = np.arange(len(X))
    expected = {
        "argmax": less[rows, best], "max": less[rows, best], 1: less[:, 1], "all": less.sum(1),
        "0-2": less[:, 0] - less[:, 2],
        "top-2": np.take_along_axis(less, np.argsort(-y, 1)[:, :2], 1),
    }[target]  # fmt: skip
    for reference in (tmp_path / "x0.npy", X0, {"x": X0}, str(tmp_path / "x0.npy")):
        found = relevance(SEVERAL, reference=reference, target=target)
        assert_close(found.sum(-1), expected, 1e-4)


def test_it_is_stamped_and_shown(tmp_path: Path, capsys: Any) -> None:
    onnx.save(MODEL, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "x0.npy", X0)
    for given, said in (("2.5", "2.5"), (tmp_path / "x0.npy", "x0.npy")):
        asked = [tmp_path / "model.onnx", tmp_path / "x.npy", f"--reference={given}"]
        outcome = run_command(capsys, "explain", *asked, "-o", tmp_path / "out.npz",
                              "--composite", "epsilon")  # fmt: skip
        assert (outcome.status, outcome.err) == (0, "")
        assert f"less {said}, by epsilon" in outcome.out
        assert outcome.out.count("(100.0%)") == 3
    compiled = lrp_onnx.compile(MODEL, reference=2.5)
    assert compiled.graph.metadata_props["lrp.reference"] == "2.5"


def test_verify_accounts_for_the_difference() -> None:
    verdict = verify(MODEL, CompileOptions(reference=2.5, composite="epsilon"), {"x": X})
    assert verdict.problems == ()
    y = run(MODEL, {"x": X})["y"].astype(float)
    assert abs(verdict.explained - (y - 2.5).sum()) < 1e-4 * np.abs(y).sum()


def test_several_outputs_have_their_own() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(SEVERAL)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    model.graph.output.append(onnx.helper.make_tensor_value_info("r", 1, [batch, 6]))
    explainer = Explainer(
        lrp_onnx.compile(model, "epsilon", output=["y", "r"], reference=X0, target="all")
    )
    found = explainer(X).relevance
    for name in ("y", "r"):
        values, reference = (run(model, {"x": x})[name] for x in (X, X0))
        if name == "y":
            assert_close(found["y_x"].sum(1), (values - reference).sum(1), 1e-4)
    assert np.isfinite(found["r_x"]).all()


@pytest.mark.parametrize(
    ("model", "request_", "fact"),
    [
        (MODEL, {"reference": float("nan")}, "reference nan: no finite number"),
        (MODEL, {"reference": "nowhere.npy"}, "reference: there is no file 'nowhere.npy'"),
        (MODEL, {"reference": {"z": X0}}, "reference of 'z': the model has no such input"),
        (MODEL, {"reference": np.zeros((1, 5), np.float32)}, "shape"),
        (MODEL, {"reference": X}, "it holds 3 samples. Give one, which is for all"),
        (MODEL, {"reference": 1.0, "start": "one"}, "with start one relevance does not start"),
        (MODEL, {"reference": 1.0, "target": "seed"}, "Leave --target out"),
        (MODEL, {"reference": 1.0, "method": "gradient"}, "which no reference changes"),
        (SOFTMAX, {"reference": 1.0, "start": "logit"}, "which are no regression"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_refuses(model: onnx.ModelProto, request_: dict[str, Any], fact: str) -> None:
    with pytest.raises(LrpError, match=fact):
        lrp_onnx.compile(model, **request_)
