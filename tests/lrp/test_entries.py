"""Outputs that are not [N, classes]: where the classes are, what is refused, and what is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command
from models import assert_close, run

import lrp_onnx
from lrp_onnx.answer.explained import explained_entries
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import each_output, stamp_of
from lrp_onnx.validate.bench import bench

Capture = pytest.CaptureFixture[str]
HEADER = '<ir_version: 8, opset_import: ["":18]>'
Y = np.array([0.5, -2.0, 3.0, 1.0], np.float32)


def model_of(inputs: str, output: str, body: str) -> onnx.ModelProto:
    """Inputs and output as ONNX text; weights that the body may use are as they are needed."""
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model(f"{HEADER} g ({inputs}) => (float[{output}] y) {{ {body} }}")
    weights = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "v": rng.standard_normal((4, 8)).astype(np.float32),
        "column": rng.standard_normal((4, 1)).astype(np.float32),
    }
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(w, name) for name, w in weights.items() if name in used
    )
    return model


PICTURE = "c = Conv(u, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) l = Gemm(f, v) "
ROW = "l = MatMul(x, v) y = Squeeze(l, zero)"
MODELS = {
    "picture": ("float[3,6,6] x", "8", f"u = Unsqueeze(x, zero) {PICTURE} y = Squeeze(l, zero)"),
    "batch of one": ("float[1,4] x", "8", ROW),
    "vector": ("float[4] x", "8", "y = MatMul(x, v)"),
    "rows": ("float[T,4] x", "8", "m = ReduceMean<keepdims=0>(x, zero) y = MatMul(m, v)"),
    "as many": ("float[8,4] x", "8", "m = ReduceMean<keepdims=0>(x, zero) y = MatMul(m, v)"),
    "beside a state": ("float[1,4] x, float[8,4] h", "8",
                       ROW.replace("y", "q") + " m = ReduceMean<keepdims=0>(h, one) y = Add(q, m)"),
    "one for each": ("float[N,4] x", "N", "l = MatMul(x, column) y = Squeeze(l, one)"),
    "three": ("float[N,22,4] x", "N,22,8", "y = MatMul(x, v)"),
    "text": ("float[N,T,4] x", "N,T,8", "y = MatMul(x, v)"),
    "time first": ("float[T,1,4] x", "T,1,8", "y = MatMul(x, v)"),
    "dots": ("float[N,1,4] x", "N,1,1", "y = MatMul(x, column)"),
    "made up": ("float[N,1,H,W] x", "batch_size,1,unk__1,unk__2",
                "y = MaxPool<kernel_shape=[2, 2]>(x)"),
    "classes": ("float[N,4] x", "N,8", "y = MatMul(x, v)"),
    "one number": ("float[N,4] x", "N,1", "y = MatMul(x, column)"),
    "mask": ("float[N,4,H,W] x", "N,1,H,W", "y = ReduceSum<keepdims=1>(x, one)"),
    "segmented": ("float[3,6,6] x", "4,4,4",
                  "u = Unsqueeze(x, zero) c = Conv(u, w) y = Squeeze(c, zero)"),
    "graph": ("float[n,4] x", "1,8", "m = ReduceMean<keepdims=1>(x, zero) y = MatMul(m, v)"),
    "small graph": ("float[5,4] x", "1,8", "m = ReduceMean<keepdims=1>(x, zero) y = MatMul(m, v)"),
    "scalar": ("float[4] x", "", "y = ReduceSum<keepdims=0>(x)"),
}  # fmt: skip


def built(name: str) -> onnx.ModelProto:
    return model_of(*MODELS[name])


def axis_of(name: str, **request: object) -> str:
    compiled = lrp_onnx.compile(built(name), "epsilon", **request)
    return compiled.graph.metadata_props["lrp.class_axis"]


AXES = {
    "picture": "0",
    "batch of one": "0",
    "vector": "0",
    "as many": "",
    "beside a state": "",
    "one for each": "",
    "classes": "1",
    "scalar": "",
}


@pytest.mark.parametrize("name", AXES)
def test_an_output_without_a_batch_has_its_classes_along_axis_0(name: str) -> None:
    assert axis_of(name) == AXES[name]


@pytest.mark.parametrize("given", [0, -1])
@pytest.mark.parametrize("name", ["as many", "rows", "one for each"])
def test_a_class_axis_of_rank_1_is_honored(name: str, given: int) -> None:
    assert axis_of(name, class_axis=given, target=1) == "0"


@pytest.mark.parametrize("target", ["all", "seed"])
def test_where_the_classes_are_is_not_asked_where_it_does_not_matter(target: str) -> None:
    assert axis_of("rows", target=target) == ""


MASKS = {
    "argmax": [0, 0, 1, 0],
    "max": [0, 0, 1, 0],
    "1": [0, 1, 0, 0],
    "3-0": [-1, 0, 0, 1],
    "all": [1, 1, 1, 1],
}


@pytest.mark.parametrize("start", ["logit", "one"])
@pytest.mark.parametrize("target", MASKS)
def test_targets_of_an_output_without_a_batch(target: str, start: str) -> None:
    """Squeeze and Neg pass relevance on: that of x is the starting relevance itself."""
    model = model_of("float[1,4] x", "4", "n = Neg(x) y = Squeeze(n, zero)")
    compiled = lrp_onnx.compile(model, "epsilon", target=target, start=start)
    found = run(compiled.model, {"x": -Y[None]})["x_relevance"]
    mask = np.array(MASKS[target], np.float32)
    assert_close(found[0], mask * Y if start == "logit" else mask)


def test_target_input_is_one_class_of_an_output_without_a_batch() -> None:
    explainer = lrp_onnx.Explainer(lrp_onnx.compile(built("vector"), "epsilon", target="input"))
    found = explainer(Y, target=5)
    assert_close(found.relevance["x"].sum(), found.outputs["y"][5])


def test_a_file_is_a_sample_of_its_own_where_axis_0_holds_classes() -> None:
    """An open axis 0 that both ends have would be stacked otherwise."""
    compiled = lrp_onnx.compile(built("one for each"), "epsilon", class_axis=0)
    explainer = lrp_onnx.Explainer(compiled)
    inputs = [np.random.default_rng(k).standard_normal((3, 4)).astype(np.float32) for k in (0, 1)]
    for x, found in zip(inputs, explainer.many(inputs), strict=True):
        assert_close(found.relevance["x"], explainer(x).relevance["x"])


@pytest.mark.usefixtures("memory_unmeasured")
def test_bench_counts_one_sample_where_there_is_no_batch() -> None:
    samples = [bench(m, lrp_onnx.compile(m, "epsilon"), runs=1).samples
               for m in (built("picture"), built("as many"))]  # fmt: skip
    assert samples == [1, 8]


REFUSED = {
    "rows": ({}, ["'y' of shape [8]", "'x' [T,4]", "--class-axis 0"]),
    "as many": ({"target": 1}, ["'y' of shape [8]", "one class a sample", "--class-axis 0"]),
    "picture": ({"target": "top-2"}, ["'y' of shape [8]", "no batch axis", "argmax"]),
    "vector": ({"class_axis": 1}, ["class axis 1", "'y' of shape [8]", "1 axes", "-1 to 0"]),
    "scalar": ({"class_axis": 0}, ["class axis 0", "'y' of shape []", "Leave it out"]),
    "segmented": ({"target": "top-2", "class_axis": 0}, ["'y' of shape [4,4,4]", "no batch axis"]),
    "batch of one": ({"target": 8}, ["'y' has 8 classes"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused(name: str) -> None:
    request, facts = REFUSED[name]
    with pytest.raises(TargetError) as caught:
        lrp_onnx.compile(built(name), "epsilon", **request)
    assert all(fact in str(caught.value) for fact in facts), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mean_without_a_batch_is_refused() -> None:
    with pytest.raises(TargetError, match=r"baseline mean.*no batch axis"):
        lrp_onnx.compile(built("picture"), method="integrated-gradients", baseline="mean")


OTHERWISE = "; --class-axis and --output choose otherwise"
SAID = [
    ("three", {}, "[N, 22, 8]: argmax along axis 2 at each of 22 places, summed" + OTHERWISE),
    ("three", {"class_axis": 1}, "[N, 22, 8]: argmax along axis 1 at each of 8 places, summed"
     + OTHERWISE),
    ("three", {"class_axis": 0}, "[N, 22, 8]: argmax along axis 0 at each of 176 places, summed"
     + OTHERWISE),
    ("three", {"target": "3"}, "[N, 22, 8]: class 3 along axis 2 at each of 22 places, summed"
     + OTHERWISE),
    ("three", {"target": "3-1"}, "[N, 22, 8]: class 3 against 1 along axis 2 at each of 22 places, "
     "summed" + OTHERWISE),
    ("three", {"target": "all"}, "[N, 22, 8]: all entries of each sample, summed"),
    ("three", {"target": "max"}, "[N, 22, 8]: the largest entry of each sample" + OTHERWISE),
    ("three", {"target": "seed"}, ""),
    ("text", {}, "[N, T, 8]: argmax along axis 2 at every place of axis 1, summed" + OTHERWISE),
    ("time first", {}, "[T, 1, 8]: argmax along axis 2 of each sample (axis 0)"),
    ("made up", {}, "[batch_size, 1, ?, ?]: the largest entry of each sample"),
    ("made up", {"class_axis": 1}, "[batch_size, 1, ?, ?]: the only entry of axis 1 at every "
     "place of axes 2 and 3, summed" + OTHERWISE),
    ("dots", {}, "[N, 1, 1]: one number a sample, which is explained"),
    ("classes", {}, ""),
    ("classes", {"target": "max"}, ""),
    ("graph", {}, ""),
    ("small graph", {}, ""),
    ("one number", {}, "[N, 1]: one number a sample, which is explained"),
    ("one for each", {}, "[N]: one number a sample, which is explained"),
    ("as many", {}, "[8]: one number for each of 8 samples, which is explained; --class-axis 0 if "
     "these are the classes of one sample"),
    ("scalar", {}, "[]: one number, which is explained"),
    ("mask", {}, "[N, 1, H, W]: the largest entry of each sample"),
    ("mask", {"target": "0,:,3"}, "[N, 1, H, W]: entry 0,:,3 of each sample, summed over axis 2"),
    ("mask", {"target": "0,:,:"}, "[N, 1, H, W]: entry 0,:,: of each sample, summed over axes 2 "
     "and 3"),
    ("text", {"target": "3,5"}, "[N, T, 8]: entry 3,5 of each sample"),
    ("segmented", {"target": (1, 2, 3)}, "[4, 4, 4]: entry 1,2,3"),
    ("mask", {"class_axis": 1}, "[N, 1, H, W]: the only entry of axis 1 at every place of axes "
     "2 and 3, summed" + OTHERWISE),
    ("picture", {}, "[8]: no batch axis, argmax along axis 0 of one sample"),
    ("segmented", {}, "[4, 4, 4]: the largest entry"),
    ("segmented", {"class_axis": 2}, "[4, 4, 4]: argmax along axis 2 at each of 16 places, summed"
     + OTHERWISE),
]  # fmt: skip


def entries_of(compiled: lrp_onnx.Compiled) -> str:
    (one,) = each_output(stamp_of(compiled.graph.metadata_props))
    return explained_entries(compiled, one)


@pytest.mark.parametrize(("name", "request_", "said"), SAID, ids=str)
def test_what_is_explained_is_said(name: str, request_: dict[str, object], said: str) -> None:
    compiled = lrp_onnx.compile(built(name), "epsilon", **request_)
    assert entries_of(compiled) == (f"y has shape {said}" if said else "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in MODELS:
        onnx.save(built(name), f"{name.replace(' ', '-')}.onnx")
    rng = np.random.default_rng(4)
    for shape in ((3, 6, 6), (1, 4), (4,), (5, 4), (8, 4)):
        array = rng.standard_normal(shape).astype(np.float32)
        np.save(f"{'x'.join(map(str, shape))}.npy", array)
    return tmp_path


EXPLAINED = {
    "picture": ("3x6x6.npy", "argmax along axis 0 of one sample"),
    "batch-of-one": ("1x4.npy", "argmax along axis 0 of one sample"),
    "vector": ("4.npy", "argmax along axis 0 of one sample"),
    "rows --class-axis 0": ("5x4.npy", "argmax along axis 0 of one sample"),
    "as-many --class-axis 0": ("8x4.npy", "argmax along axis 0 of one sample"),
    "small-graph": ("5x4.npy", ""),
}


@pytest.mark.parametrize("kind", ["png", "html", "npz"])
@pytest.mark.parametrize("row", EXPLAINED)
def test_explain_tells_of_one_sample(row: str, kind: str, folder: Path, capsys: Capture) -> None:
    (file, sentence), (name, *options) = EXPLAINED[row], row.split()
    arguments = ("--composite", "epsilon", *options)
    done = run_command(capsys, "explain", f"{name}.onnx", file, "-o", f"why.{kind}", *arguments)
    assert done.status == 0, done.err
    assert sentence in done.out
    assert "sample 0" not in done.out
    y = run(onnx.load(f"{name}.onnx"), {"x": np.load(file)})["y"].ravel()
    best = int(y.argmax())
    shares = np.exp(y - y.max())
    (told,) = re.findall(rf"class {best}, ([\d.]+)% by softmax", done.out)
    assert float(told) == pytest.approx(100 / shares.sum(), abs=0.5)
    assert f"of {y[best]:.5g} (100.0%)" in done.out
    if kind == "npz":
        about = json.loads(str(np.load("why.npz")["metadata"]))
        assert about.get("entries", "").endswith(sentence)


def test_explain_of_what_has_its_samples_elsewhere_is_one_sample(
    folder: Path, capsys: Capture
) -> None:
    done = run_command(capsys, "explain", "segmented.onnx", "3x6x6.npy", "-o", "why.png")
    assert done.status == 0
    y = run(onnx.load("segmented.onnx"), {"x": np.load("3x6x6.npy")})["y"]
    k, row, column = np.unravel_index(y.argmax(), y.shape)
    shares = np.exp(y[:, row, column] - y.max())
    place = f"; explained: class {k} at row {row}, column {column}, "
    (told,) = re.findall(rf"{place}([\d.]+)% \(entry {k},{row},{column}\) by softmax", done.out)
    assert float(told) == pytest.approx(100 / shares.sum(), abs=0.5)
    assert "sample 0" not in done.out
    asked = ("explain", "segmented.onnx", "3x6x6.npy", "-o", "why.png", "--target", "all")
    assert f"predicted: y from {y.min():.4g} to {y.max():.4g}" in run_command(capsys, *asked).out


def test_explain_stacks_no_classes_behind_an_axis_that_is_no_batch(
    folder: Path, capsys: Capture
) -> None:
    arguments = ("small-graph.onnx", "5x4.npy", "-o", "why.png", "--target", "top-2")
    done = run_command(capsys, "explain", *arguments)
    assert done.status == 2
    assert "no batch axis in common" in done.err


def test_numbers_of_no_sample_are_no_classes(folder: Path, capsys: Capture) -> None:
    """Only the run shows that the output's axis is none of the input's."""
    model = model_of("float[T,4] x", "K", "t = Transpose(x) y = ReduceSum<keepdims=0>(t, one)")
    onnx.save(model, "columns.onnx")
    done = run_command(capsys, "explain", "columns.onnx", "5x4.npy", "-o", "why.npz")
    assert done.status == 2
    assert "--class-axis 0" in done.err
    assert "[4]" in done.err


@pytest.mark.parametrize(("name", "axis"), [("picture", 0), ("three", 2)])
def test_inspect_and_compile_say_it_too(
    name: str, axis: int, folder: Path, capsys: Capture
) -> None:
    expected = entries_of(lrp_onnx.compile(built(name)))
    told = json.loads(run_command(capsys, "inspect", f"{name}.onnx", "--json").out)
    assert (told["class_axis"], told["entries"]) == (axis, expected)
    assert expected in run_command(capsys, "inspect", f"{name}.onnx").out
    assert expected in run_command(capsys, "compile", f"{name}.onnx", "-o", "out.onnx").out


STARTS = {
    "y = Sigmoid(x)": "the logits before the final softmax or sigmoid",
    "s = Sigmoid(x) y = Mul(s, s)": "the output's own values",
}


@pytest.mark.parametrize("body", STARTS)
def test_inspect_says_where_relevance_starts(body: str, folder: Path, capsys: Capture) -> None:
    onnx.save(model_of("float[N,4] x", "N,4", body), "tail.onnx")
    told = json.loads(run_command(capsys, "inspect", "tail.onnx", "--json").out)
    assert told["starts_at"] == STARTS[body]
