"""The explainer runs a compiled model, and says what the model wants when it is given else."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from commands import picture_net, text_net
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx import Explainer, InputError, LrpError, ModelError, OutputError
from lrp_onnx.graph import session as runtime


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((3, 1, 8, 8)).astype(np.float32)


def _explainer(model: onnx.ModelProto | None = None, **arguments: Any) -> Explainer:
    return Explainer(lrp_onnx.compile(model or picture_net(), check=False, **arguments))


def test_outputs_are_the_models_own(x: np.ndarray) -> None:
    result = _explainer()(x)
    assert list(result.outputs) == ["logits"]
    assert_close(result.outputs["logits"], run(picture_net(), {"image": x})["logits"])


def test_relevance_is_named_for_its_tensor(x: np.ndarray) -> None:
    result = _explainer(relevance_at=("h",))(x)
    assert {name: r.shape for name, r in result.relevance.items()} == {
        "image": (3, 1, 8, 8),
        "h": (3, 3, 8, 8),
    }


def test_a_batch_is_its_samples(x: np.ndarray) -> None:
    explainer = _explainer()
    single = np.concatenate(
        [explainer({"image": x[k : k + 1]}).relevance["image"] for k in (0, 1, 2)]
    )
    assert_close(explainer(x).relevance["image"], single)


@pytest.mark.parametrize("form", ["path", "bytes", "proto"])
def test_takes_a_compiled_file(form: str, x: np.ndarray, tmp_path: Path) -> None:
    compiled = lrp_onnx.compile(picture_net(), check=False)
    compiled.save(tmp_path / "c.onnx")
    source = {
        "path": tmp_path / "c.onnx",
        "bytes": compiled.model.SerializeToString(),
        "proto": compiled.model,
    }[form]
    assert_close(Explainer(source)(x).relevance["image"], Explainer(compiled)(x).relevance["image"])


def test_external_data_is_found_beside_the_file(x: np.ndarray, tmp_path: Path) -> None:
    compiled = lrp_onnx.compile(picture_net(), check=False)
    expected = Explainer(compiled)(x).relevance["image"]
    onnx.save(compiled.model, tmp_path / "c.onnx", save_as_external_data=True, size_threshold=256)
    assert_close(Explainer(tmp_path / "c.onnx")(x).relevance["image"], expected)


def test_external_data_that_something_else_reads(x: np.ndarray, tmp_path: Path) -> None:
    wide = network("c = Conv(x, w) y = Conv(c, v)", (1, 8, 4, 4), w=(64, 8, 3, 3), v=(64, 64, 1, 1))
    onnx.save(wide, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=256)
    compiled = lrp_onnx.compile(tmp_path / "m.onnx", "epsilon", optimize=False, check=False)
    weights = [v.const_value for v in compiled.graph.graph.initializers.values()]
    views = [t.numpy() for t in weights if isinstance(t, ir.ExternalTensor)]
    assert views
    feeds = {"x": np.ones((1, 8, 4, 4), np.float32)}
    assert np.isfinite(Explainer(compiled)(feeds).relevance["x"]).all()


def test_the_provider_is_the_one_that_runs(x: np.ndarray) -> None:
    explainer = _explainer()
    assert explainer.provider in ort.get_available_providers()
    asked = Explainer(lrp_onnx.compile(picture_net()), providers=["CPUExecutionProvider"])
    assert asked.provider == "CPUExecutionProvider"


def test_target_of_each_sample(x: np.ndarray) -> None:
    explainer = _explainer(target="input", start="one", composite="gradient")
    each = explainer(x, target=[2, 0, 3]).relevance["image"]
    assert_close(each[1:2], explainer(x[1:2], target=0).relevance["image"])
    assert_close(
        each[2:], _explainer(target=3, start="one", composite="gradient")(x[2:]).relevance["image"]
    )


def test_values_on_a_device_stay_there(x: np.ndarray) -> None:
    explainer = _explainer()
    expected = explainer(x)
    image = ort.OrtValue.ortvalue_from_numpy(x)
    for given in (image, {"image": image}, x[:, :, ::-1][:, :, ::-1]):
        found = explainer.on_device(given)
        assert found.relevance["image"].device_name() == "cpu"
        assert_close(found.relevance["image"].numpy(), expected.relevance["image"], 0)
        assert_close(found.outputs["logits"].numpy(), expected.outputs["logits"], 0)


def test_an_explanation_of_values_on_a_device_feeds_the_next(x: np.ndarray) -> None:
    explainer = _explainer()
    relevance = explainer.on_device(x).relevance["image"]
    again = explainer.on_device(relevance).relevance["image"].numpy()
    assert_close(again, explainer(explainer(x).relevance["image"]).relevance["image"], 0)


def test_a_target_beside_values_on_a_device(x: np.ndarray) -> None:
    explainer, image = _explainer(target="input"), ort.OrtValue.ortvalue_from_numpy(x)
    found = explainer.on_device(image, target=2).relevance["image"].numpy()
    assert_close(found, explainer(x, target=2).relevance["image"], 0)
    classes = ort.OrtValue.ortvalue_from_numpy(np.array([2, 2, 9]))
    with pytest.raises(InputError, match="target 9: output 'logits' has"):
        explainer.on_device({"image": image, "target": classes})


@pytest.mark.parametrize(("dtype", "cut"), [(np.float64, 8), (np.float32, 7)])
def test_a_wrong_value_on_a_device(x: np.ndarray, dtype: type, cut: int) -> None:
    wrong = ort.OrtValue.ortvalue_from_numpy(x[..., :cut].astype(dtype))
    with pytest.raises(InputError, match=r"input 'image' is float.*the model wants float32"):
        _explainer().on_device(wrong)


def test_seed(x: np.ndarray) -> None:
    seed = np.zeros((3, 4))
    seed[:, 1] = 1
    by_seed = _explainer(target="seed")(x, target=seed).relevance["image"]
    assert_close(by_seed, _explainer(target=1)(x).relevance["image"])


def test_token_ids_get_one_value_each() -> None:
    result = _explainer(text_net(), composite="epsilon")(np.arange(6)[None])
    assert result.relevance["ids"].shape == (1, 6)
    assert result.relevance["ids"].dtype == np.float32


X = np.zeros((2, 1, 8, 8), np.float32)
WRONG = {
    "unknown name": ({"picture": X}, {}, ["'picture'", "'image' float32", "1, 8, 8]"]),
    "missing name": ({}, {}, ["'image' is missing"]),
    "dtype": (X.astype(np.float64), {}, ["float64", "wants float32", "astype('float32')"]),
    "integer": (X.astype(np.int64), {}, ["int64", "wants float32"]),
    "rank": (X[0], {}, ["[1, 8, 8]", "4 axes. Add a batch axis with array[None]."]),
    "no channel": (X[:, 0], {}, ["[2, 8, 8]", "4 axes. Add an axis with array[:, None]."]),
    "neither": (X[0, 0], {}, ["[8, 8]", "4 axes. Add axes of size 1 with array[None, None]."]),
    "rank and size": (X[:, 0, :7], {}, ["[2, 7, 8]", "4 axes."]),
    "rank 1": (X[0, 0, 0], {}, ["[8]", "4 axes."]),
    "rank 5": (X[None], {}, ["[1, 2, 1, 8, 8]", "4 axes."]),
    "size": (X[:, :, :7], {}, ["[2, 1, 7, 8]", "8 along axis 2"]),
    "empty": (X[:0], {}, ["empty"]),
    "a target unasked": (X, {"target": 1}, ["'argmax'", "target='input'"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_says_what_the_model_wants(case: str) -> None:
    given, keywords, words = WRONG[case]
    with pytest.raises(InputError) as error:
        _explainer()(given, **keywords)
    for word in words:
        assert word in str(error.value)
    assert ("Add" in str(error.value)) == any("Add" in word for word in words)


@pytest.mark.parametrize("target", [4, -1, [0, 9], 1.5, [0, 1, 2], "cat"])
def test_wrong_target(target: object) -> None:
    with pytest.raises(InputError, match=r"target"):
        _explainer(target="input")(X, target=target)


def test_a_class_the_model_turns_out_not_to_have() -> None:
    model = picture_net()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    weight = next(t for t in model.graph.initializer if t.name == "v")
    model.graph.initializer.remove(weight)
    model.graph.input.append(onnx.helper.make_tensor_value_info("v", 1, [192, "classes"]))
    explainer = _explainer(model, target=7, explain=["image"])
    with pytest.raises(InputError, match="0 to 3"):
        explainer({"image": X, "v": np.ones((192, 4), np.float32)})


def test_two_inputs_want_a_dict_and_the_same_batch() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (float[N,2] a, float[N,2] b) => (float[N,2] y) { y = Add(a, b) }"""
    )
    explainer = _explainer(model, composite="epsilon")
    with pytest.raises(InputError, match="a dict of arrays: 'a' float32"):
        explainer(np.zeros((1, 2), np.float32))
    feeds = {"a": np.zeros((1, 2), np.float32), "b": np.zeros((3, 2), np.float32)}
    with pytest.raises(InputError, match="'b' has 3 along 'N', but 'a' has 1"):
        explainer(feeds)


def test_a_model_that_lrp_onnx_did_not_compile() -> None:
    with pytest.raises(ModelError, match="did not compile it"):
        Explainer(picture_net())


def test_what_the_runtime_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="ONNX Runtime cannot open"):
        Explainer(tmp_path / "bad.onnx")


@pytest.mark.parametrize(("name", "fact"), [("none.onnx", "No such file"), (".", "a folder")])
def test_a_file_that_cannot_be_read(name: str, fact: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"^'.*'.*{fact}.*\. (Check the path|Give the path)"):
        Explainer(tmp_path / name)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"x\.onnx': the folder '.*nowhere' does not exist"):
        lrp_onnx.compile(picture_net(), check=False).save(tmp_path / "nowhere" / "x.onnx")


def test_two_runtime_packages_are_a_broken_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = _explainer()
    installed = {"onnxruntime-gpu": "1.31.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    assert explainer.notice is None
    installed["onnxruntime"] = "1.30.0"
    assert explainer.notice is not None
    for word in ("onnxruntime 1.30.0", "onnxruntime-gpu 1.31.1", "pip uninstall -y", "pip install"):
        assert word in explainer.notice


def test_a_runtime_with_parts_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ort, "InferenceSession")
    with pytest.raises(LrpError, match="pip install onnxruntime"):
        runtime.Runtime(b"")


def test_nothing_is_printed_while_it_runs(tmp_path: Path) -> None:
    lrp_onnx.compile(picture_net(), check=False).save(tmp_path / "c.onnx")
    program = (
        "import sys, numpy as np, lrp_onnx\n"
        "lrp_onnx.Explainer(sys.argv[1])(np.zeros((1, 1, 8, 8), np.float32))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "c.onnx"],
        capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(p or "." for p in sys.path)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
