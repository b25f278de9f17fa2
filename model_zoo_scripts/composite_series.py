"""More series for `composites.py`, and networks of other depths on them (torch).

Made ones: movements in three channels, rising and falling tones, heart beats of which one is wide
or missing, motifs in DNA.  Real ones are those of the UCR and UEA archives that come with aeon.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from composite_networks import SAMPLES, Array, Fcn, fitted
from numpy.typing import NDArray
from obtain import read
from torch import nn

__all__ = ["network", "samples"]

Labeled = tuple[Array, NDArray[np.int64]]
Random = np.random.Generator


def motion(rng: Random, y: NDArray[np.int64]) -> Array:
    """Swings of two frequencies and of other shares of the axes, with a jolt in half of them."""
    count, t = len(y), np.arange(150) / 50
    x = 0.5 * rng.standard_normal((count, 3, 150)) + rng.standard_normal((count, 3, 1))
    shares = np.array([[1, 0.2, 0.2], [1, 0.6, 0.2], [0.2, 0.6, 1], [0.8, 0.8, 0.8]])
    for own, label in zip(x, y, strict=True):
        pitch = (1.2, 2.0, 2.0, 3.2)[label] * (1 + 0.05 * rng.standard_normal())
        phase = 2 * np.pi * pitch * t + 6 * rng.random() + np.arange(3)[:, None]
        own += 1.5 * shares[label][:, None] * np.sin(phase)
        if rng.random() < 0.5:
            own[:, rng.integers(0, 150)] += 4
    return x.astype(np.float32)


def chirp(rng: Random, y: NDArray[np.int64]) -> Array:
    """A tone that rises, falls or stays, somewhere in noise."""
    x, t = 0.3 * rng.standard_normal((len(y), 1, 512)), np.arange(160) / 160
    for own, label in zip(x, y, strict=True):
        first, last = ((5, 25), (25, 5), (15, 15))[label]
        start = rng.integers(0, 352)
        phase = 2 * np.pi * (first * t + (last - first) * t * t / 2) + 6 * rng.random()
        own[0, start : start + 160] += 1.5 * np.hanning(160) * np.sin(phase)
    return x.astype(np.float32)


def beats(rng: Random, y: NDArray[np.int64]) -> Array:
    """Heart beats; the second or third is wide in class 1 and missing in class 2."""
    t, x = np.arange(300), 0.05 * rng.standard_normal((len(y), 1, 300))
    for own, label in zip(x, y, strict=True):
        period, place, odd, number = rng.uniform(55, 70), rng.uniform(5, 40), rng.integers(1, 3), 0
        while place < 300:
            width, height = (8, 1.2) if label == 1 and number == odd else (2, 1.0)
            if label != 2 or number != odd:
                for at, wide, high in ((0, width, height), (-12, 4, 0.15), (18, 7, 0.3)):
                    own[0] += high * np.exp(-(((t - place - at) / wide) ** 2))
            place, number = place + period * (1 + 0.03 * rng.standard_normal()), number + 1
        own[0] += 0.2 * np.sin(2 * np.pi * t / 300 * rng.uniform(0.5, 1.5) + 6 * rng.random())
    return x.astype(np.float32)


MADE: dict[str, tuple[Callable[[Random, NDArray[np.int64]], Array], int]] = {
    "motion": (motion, 4),
    "chirp": (chirp, 3),
    "beats": (beats, 3),
}
"""Each with its number of classes."""


class Block(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Three convolutions with BatchNorm around which the input goes, too (Wang et al. 2017)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = inputs
        for size in (7, 5, 3):
            slide = nn.Conv1d(channels, width, size, padding=size // 2)
            layers += [slide, nn.BatchNorm1d(width), nn.ReLU()]
            channels = width
        self.way = nn.Sequential(*layers[:-1])
        self.around = nn.Sequential(nn.Conv1d(inputs, width, 1), nn.BatchNorm1d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N,inputs,time] to [N,width,time]."""
        return torch.relu(self.way(x) + self.around(x))


class Mean(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The mean over time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N,channels,time] to [N,channels]."""
        return x.mean(2)


def residual(inputs: int, length: int, classes: int) -> nn.Module:
    """ResNet of nine convolutions."""
    blocks = (Block(inputs, 24), Block(24, 24), Block(24, 24))
    return nn.Sequential(*blocks, Mean(), nn.Linear(24, classes))


def pooled(inputs: int, length: int, classes: int, depth: int = 3, norm: bool = False) -> nn.Module:
    """So many convolutions with pooling between them, then two dense layers."""
    layers: list[nn.Module] = []
    channels, width = inputs, 16
    for _ in range(depth):
        normed = [nn.BatchNorm1d(width)] if norm else []
        slide = nn.Conv1d(channels, width, 5, padding=2)
        layers += [slide, *normed, nn.ReLU(), nn.MaxPool1d(2)]
        channels, width, length = width, 32, length // 2
    dense = (nn.Linear(channels * length, 32), nn.ReLU(), nn.Linear(32, classes))
    return nn.Sequential(*layers, nn.Flatten(), *dense)


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "FCN": lambda inputs, length, classes: Fcn(inputs, classes),
    "ResNet of 9 convolutions": residual,
    "3 convolutions, 2 dense layers": pooled,
    "3 convolutions with norms, 2 dense layers": partial(pooled, norm=True),
    "5 convolutions with norms, 2 dense layers": partial(pooled, depth=5, norm=True),
}


def made(task: str, count: int, seed: int) -> Labeled:
    """Series of a made task [N,channels,time] and their classes."""
    make, classes = MADE[task]
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    return make(rng, y), y


def archived(task: str, part: str) -> tuple[Array, list[str]]:
    """Series of a real task, TRAIN or TEST, and the names of their classes."""
    name = f"aeon/datasets/data/{task.removesuffix('_eq')}/{task}_{part}.ts"
    lines = read("aeon", name).decode().split("@data", 1)[1].split()
    parts = [line.split(":") for line in lines]
    x = [[[float(v) for v in channel.split(",")] for channel in own[:-1]] for own in parts]
    return np.array(x, np.float32), [own[-1] for own in parts]


def data_of(task: str) -> tuple[Labeled, Array]:
    """What a network is trained on, and series that it is not."""
    if task in MADE:
        return made(task, 900, 0), made(task, 120, 1)[0]
    (x, names), (held_out, _) = archived(task, "TRAIN"), archived(task, "TEST")
    mean, deviation = x.mean((0, 2), keepdims=True), x.std((0, 2), keepdims=True) + 1e-6
    order = np.random.default_rng(0).permutation(len(held_out))
    y = np.unique(names, return_inverse=True)[1]
    return ((x - mean) / deviation, y), ((held_out - mean) / deviation)[order]


def samples(task: str) -> list[dict[str, Array]]:
    """Series that no network was trained on, one by one."""
    return [{"x": x[None]} for x in data_of(task)[1][:SAMPLES]]


def network(task: str, kind: str) -> bytes:
    """A network of NETWORKS, trained."""
    (x, y), _ = data_of(task)
    torch.manual_seed(0)
    model = NETWORKS[kind](x.shape[1], x.shape[2], int(y.max()) + 1)
    rounds = 6 if task in MADE else min(300, 6 * 2700 // len(x))
    torch.manual_seed(0)
    return fitted(model, x, y, rounds, size=min(50, max(8, len(x) // 8)), rate=2e-3)
