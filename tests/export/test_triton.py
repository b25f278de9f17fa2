"""A repository that Triton's own protobuf reads, whose models answer a request as they should."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from commands import picture_net, run_command, text_net, write
from google.protobuf import text_format
from models import network
from PIL import Image

from lrp_onnx import Explainer

TYPES = {"TYPE_FP32": np.float32, "TYPE_INT64": np.int64, "TYPE_UINT8": np.uint8}


@pytest.fixture(scope="module")
def proto() -> Any:
    """model_config_pb2 of tritonclient, without its client, which needs gRPC."""
    package = pytest.importorskip("tritonclient")
    file = Path(package.__path__[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(proto: Any, folder: Path) -> Any:
    config = text_format.Parse((folder / "config.pbtxt").read_text(), proto.ModelConfig())
    assert config.name == folder.name
    assert (folder / "1").is_dir()
    return config


def replay(proto: Any, folder: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Answer a request as Triton does, checking every tensor against the configuration."""
    config = config_of(proto, folder)
    if config.platform == "ensemble":
        pool = dict(feeds)
        for step in config.ensemble_scheduling.step:
            own = {k: pool[v] for k, v in step.input_map.items()}
            answer = replay(proto, folder.parent / step.model_name, own)
            pool |= {v: answer[k] for k, v in step.output_map.items()}
        answer = {output.name: pool[output.name] for output in config.output}
    else:
        model = folder / "1" / "model.onnx"
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        assert [v.name for v in session.get_inputs()] == [v.name for v in config.input]
        assert [v.name for v in session.get_outputs()] == [v.name for v in config.output]
        names = [v.name for v in config.output]
        own = {v.name: without(v, feeds[v.name]) for v in config.input}
        values = dict(zip(names, session.run(names, own), strict=True))
        answer = {v.name: with_axis(v, values[v.name]) for v in config.output}
    for tensor in (*config.input, *config.output):
        x = {**feeds, **answer}[tensor.name]
        assert x.dtype == TYPES[proto.DataType.Name(tensor.data_type)]
        sizes = x.shape[1:] if config.max_batch_size else x.shape
        assert len(tensor.dims) == len(sizes)
        assert all(d in (-1, n) for d, n in zip(tensor.dims, sizes, strict=True))
    return answer


def without(tensor: Any, x: np.ndarray) -> np.ndarray:
    """What the model gets of a tensor that is reshaped to nothing behind its batch."""
    return x.reshape(len(x), *tensor.reshape.shape) if tensor.HasField("reshape") else x


def with_axis(tensor: Any, x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), *tensor.dims) if tensor.HasField("reshape") else x


def test_a_batched_model_with_its_target(proto: Any, tmp_path: Path, capsys) -> None:
    model, out = write(tmp_path / "net.onnx", picture_net()), tmp_path / "repository"
    done = run_command(capsys, "export", "triton", model, "-o", out, "--target", "input",
                       "--batch", "16")  # fmt: skip
    assert done.status == 0
    config = config_of(proto, out / "net")
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 16)
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    (warmup,) = config.model_warmup
    assert {k: list(v.dims) for k, v in warmup.inputs.items()} == {
        "image": [1, 8, 8],
        "target": [1],
    }
    x = np.random.default_rng(1).standard_normal((3, 1, 8, 8)).astype(np.float32)
    answer = replay(proto, out / "net", {"image": x, "target": np.array([[0], [2], [1]])})
    expected = Explainer(out / "net" / "1" / "model.onnx")(x, target=[0, 2, 1])
    np.testing.assert_allclose(answer["image_relevance"], expected.relevance["image"], atol=1e-6)


def test_an_ensemble_takes_pixels(proto: Any, tmp_path: Path, capsys) -> None:
    model, out = write(tmp_path / "net.onnx", picture_net(3)), tmp_path / "repository"
    options = ["--preprocess", "imagenet", "--name", "why", "--target", "input"]
    assert run_command(capsys, "export", "triton", model, "-o", out, *options).status == 0
    assert {folder.name for folder in out.iterdir()} == {"why", "why_prepare", "why_picture"}
    pixels = np.random.default_rng(1).integers(0, 256, (30, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    answer = replay(proto, out / "why_picture", {"pixels": pixels, "target": np.array([[2]])})
    options = ["--preprocess", "imagenet", "-o", tmp_path / "p.npz", "--target", "2"]
    assert run_command(capsys, "explain", model, tmp_path / "p.png", *options).status == 0
    with np.load(tmp_path / "p.npz") as expected:
        r = expected[next(key for key in expected.files if "relevance" in key)]
    np.testing.assert_allclose(answer["image_relevance"], r, atol=1e-5)


def test_open_sizes_are_not_warmed_up(proto: Any, tmp_path: Path, capsys) -> None:
    model, out = write(tmp_path / "t.onnx", text_net()), tmp_path / "repository"
    assert run_command(capsys, "export", "triton", model, "-o", out).status == 0
    config = config_of(proto, out / "t")
    replay(proto, out / "t", {v.name: np.ones((1, 6), np.int64) for v in config.input})
    known = all(d > 0 for v in config.input for d in v.dims)
    assert bool(config.model_warmup) == known


def test_the_size_of_an_open_picture_is_told_by_metadata(
    proto: Any, tmp_path: Path, capsys
) -> None:
    body = "c = Conv(x, w) r = Relu(c) g = GlobalAveragePool(r) y = Flatten(g)"
    open_sizes = network(body, (1, 3, 8, 8), symbolic=(0, 2, 3), w=(2, 3, 3, 3))
    told = {"task": "detect", "stride": "8", "imgsz": "[8, 16]"}
    onnx.helper.set_model_props(open_sizes, told)
    model, out = write(tmp_path / "net.onnx", open_sizes), tmp_path / "repository"
    done = run_command(capsys, "export", "triton", model, "-o", out, "--preprocess", "unit")
    assert done.status == 0
    (prepared,) = config_of(proto, out / "net_prepare").output
    assert list(prepared.dims) == [1, 3, 8, 16]
