"""Small networks of several depths, trained in seconds for `composites.py` (torch, scikit-learn).

Convolutions on scikit-learn's digits, enlarged to 16 x 16, as pictures and column by column, and on
series: a burst of one of four frequencies somewhere in noise, beside one of a fifth that says
nothing; or a plateau, a rise or a fall (cylinder, bell, funnel: Saito 1994).
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = [
    "bursts",
    "column_network",
    "digit_cnn",
    "fitted",
    "held_out_columns",
    "held_out_digits",
    "series_network",
    "shape_network",
    "shapes",
]

Array = NDArray[np.float32]
SAMPLES = 30
LENGTH, BURST = 800, 200


def digits_16() -> tuple[Array, Array, NDArray[np.int64]]:
    """Digits to train on, digits held out, [N,1,16,16] in 0..1, and the former's labels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    small = torch.tensor((x / 16).reshape(-1, 1, 8, 8).astype(np.float32))
    large = nn.functional.interpolate(small, size=(16, 16), mode="bilinear").numpy()
    train, test, labels, _ = train_test_split(large, y, random_state=0)
    return train, test, labels


def held_out_digits() -> dict[str, Array]:
    """The first of the digits that are held out."""
    return {"x": digits_16()[1][:SAMPLES]}


def digit_cnn(depth: int) -> bytes:
    """A network of so many layers, the last of them dense, with BatchNorm from six on."""
    torch.manual_seed(depth)
    layers: list[nn.Module] = []
    channels = 1
    for k in range(depth - 1):
        width = 16 if k < depth // 2 else 24
        norm = [nn.BatchNorm2d(width)] if depth > 5 else []
        layers += [nn.Conv2d(channels, width, 3, padding=1), *norm, nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if k in (depth // 3, 2 * depth // 3) else []
        channels = width
    end = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 10))
    train, _, labels = digits_16()
    return fitted(nn.Sequential(*layers, *end), train, labels, rounds=6)


class Series(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Convolutions along time, an LSTM behind them if wanted, the mean over time, a dense layer."""

    def __init__(self, depth: int, recurrent: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for k in range(depth):
            width, size = (12, 24, 32, 32, 32)[k], 11 if k == 0 else 5
            slide = nn.Conv1d(channels, width, size, stride=2 if k < 3 else 1, padding=2)
            layers += [slide, nn.BatchNorm1d(width), nn.ReLU()]
            channels = width
        self.convolutions = nn.Sequential(*layers)
        self.recurrent = nn.LSTM(channels, 24, batch_first=True) if recurrent else None
        self.dense = nn.Linear(24 if recurrent else channels, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits [N,4] of series [N,1,LENGTH]."""
        h = self.convolutions(x).transpose(1, 2)
        return self.dense((h if self.recurrent is None else self.recurrent(h)[0]).mean(1))


def series(count: int, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """Series [N,1,LENGTH] and their classes."""
    rng, t = np.random.default_rng(seed), np.arange(BURST) / LENGTH
    x, y = 0.15 * rng.standard_normal((count, 1, LENGTH)), rng.integers(0, 4, count)
    for own, label in zip(x, y, strict=True):
        pitch = (20, 35, 60, 100)[label] * (1 + 0.1 * rng.random())
        tones = (np.sin(2 * np.pi * pitch * t + 6 * rng.random()), 0.5 * np.sin(360 * np.pi * t))
        for tone in tones:
            start = rng.integers(0, LENGTH - BURST)
            own[0, start : start + BURST] += np.hanning(BURST) * tone
    return x.astype(np.float32), y


def bursts() -> list[dict[str, Array]]:
    """Series that no network was trained on, one by one."""
    return [{"x": x[None]} for x in series(SAMPLES, 1)[0]]


def series_network(depth: int, recurrent: bool) -> bytes:
    """A network with so many convolutions, trained."""
    torch.manual_seed(depth)
    x, y = series(1200, 0)
    return fitted(Series(depth, recurrent), x, y, rounds=5, batch=not recurrent)


class Fcn(nn.Module):  # type: ignore[misc]  # torch has no types here
    """FCN (Wang et al. 2017): convolutions of 8, 5 and 3 with BatchNorm, the mean over time, dense;
    beside them an LSTM over the series if wanted (LSTM-FCN, Karim et al. 2018).
    """

    def __init__(self, inputs: int, classes: int, recurrent: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = inputs
        for width, size in ((32, 8), (64, 5), (32, 3)):
            slide = nn.Conv1d(channels, width, size, padding=size // 2)
            layers += [slide, nn.BatchNorm1d(width), nn.ReLU()]
            channels = width
        self.convolutions = nn.Sequential(*layers)
        self.recurrent = nn.LSTM(inputs, 16, batch_first=True) if recurrent else None
        self.dense = nn.Linear(channels + (16 if recurrent else 0), classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits of series [N,inputs,time]."""
        h = self.convolutions(x).mean(2)
        if self.recurrent is not None:
            h = torch.cat([h, self.recurrent(x.transpose(1, 2))[0][:, -1]], 1)
        return self.dense(h)


def cylinder_bell_funnel(count: int, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """Series [N,1,128] and their classes: from a to b a plateau, a rise or a fall, in noise."""
    rng, t = np.random.default_rng(seed), np.arange(1, 129)
    y = rng.integers(0, 3, count)
    a, b = rng.uniform(16, 32, (count, 1)), rng.uniform(32, 96, (count, 1))
    b = b + a
    height = 6 + rng.standard_normal((count, 1))
    forms = np.stack([np.ones((count, 128)), (t - a) / (b - a), (b - t) / (b - a)])
    inside = (t >= a) & (t <= b)
    x = height * inside * forms[y, np.arange(count)] + rng.standard_normal((count, 128))
    return x[:, None].astype(np.float32), y


def shapes() -> list[dict[str, Array]]:
    """Series that no network was trained on, one by one."""
    return [{"x": x[None]} for x in cylinder_bell_funnel(SAMPLES, 1)[0]]


def shape_network(recurrent: bool) -> bytes:
    """FCN or LSTM-FCN, trained."""
    torch.manual_seed(0)
    x, y = cylinder_bell_funnel(900, 0)
    return fitted(Fcn(1, 3, recurrent), x, y, rounds=6, batch=not recurrent)


def held_out_columns() -> dict[str, Array]:
    """The held-out digits as series of their columns, [N,16,16]: rows are channels."""
    return {"x": held_out_digits()["x"][:, 0]}


def column_network(recurrent: bool) -> bytes:
    """FCN or LSTM-FCN on digits that are read column by column, trained."""
    torch.manual_seed(0)
    x, _, y = digits_16()
    return fitted(Fcn(16, 10, recurrent), x[:, 0], y, rounds=6, batch=not recurrent)


def fitted(
    network: nn.Module,
    x: Array,
    y: NDArray[np.int64],
    rounds: int,
    batch: bool = True,
    size: int = 50,
    rate: float = 3e-3,
) -> bytes:
    """The network, trained by Adam on so many samples at once, as ONNX."""
    torch.set_num_threads(1)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    for _ in range(rounds):
        for part in torch.randperm(len(x)).split(size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                network(torch.tensor(x[part])), torch.tensor(y[part])
            )
            loss.backward()
            optimizer.step()
    made = io.BytesIO()
    options: dict[str, Any] = {"dynamic_axes": {"x": {0: "N"}}} if batch else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), torch.tensor(x[:1]), made, dynamo=False, input_names=["x"], **options
        )
    return made.getvalue()
