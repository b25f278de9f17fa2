"""Composite auto beside fixed ones, by pixel flipping (SRG) on real models and data.

    python model_zoo_scripts/composites.py [--only NAME,...] [--readme]

SRG is the area between the curves where the least and the most relevant is replaced first, with its
standard error over the samples (`lrp-onnx evaluate` says more). What `auto` takes was chosen on the
data marked so; the rest had no part in the choice. With --readme the table replaces that of the
README.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from feed_pictures import Array, imagenet_photos, picture, scaled
from obtain import members, model
from PIL import Image

import lrp_onnx
from lrp_onnx.validate.evaluation import mean_and_error

__all__ = ["DATA", "Data", "main", "measured"]

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- composites -->", "<!-- /composites -->"
COMPOSITES = ("epsilon-plus-flat", "epsilon-gamma-box", "gamma", "epsilon", "attnlrp")
REFERENCES = ("random", "edges", "center")
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "color", "ihc", "coins")
LITE0 = "efficientnet_lite0_dynamo"
BOX = ([(0 - 127) / 128] * 3, [(255 - 127) / 128] * 3)
"""Black and white as `scaled` has them."""
RANGED = ("epsilon-gamma-box",)
"""Composites that need the input's range."""


@dataclass(frozen=True)
class Data:
    """Samples for one model, and whether `auto` was chosen on them."""

    model: Callable[[], Any]
    samples: Callable[[], Mapping[str, Any]]
    chosen_on: bool = False
    ends: tuple[list[float], list[float]] | None = None
    """The least and the largest value of the input, where it is known."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Options of `lrp_onnx.evaluate`."""


def photos() -> dict[str, Array]:
    """Foolbox's 20 ImageNet photos."""
    return {"input": scaled([photo for _, photo in imagenet_photos()])}


def crops() -> dict[str, Array]:
    """Two squares of each of scikit-image's photos, of its two ends."""
    names = [n for n in members("scikit-image") if Path(n).stem in PHOTOS]
    squares = []
    for name in sorted(n for n in names if n.endswith((".png", ".jpg"))):
        whole = picture("scikit-image", name)
        width, height = whole.size
        side = min(whole.size)
        squares.append(whole.crop((0, 0, side, side)))
        squares.append(whole.crop((width - side, height - side, width, height)))
    return {"input": scaled(squares)}


def small() -> dict[str, Array]:
    """Foolbox's 20 pictures of CIFAR-10, 32 x 32, enlarged."""
    names = sorted(n for n in members("foolbox") if "data/cifar10_" in n)
    size, how = (224, 224), Image.Resampling.BICUBIC
    return {"input": scaled([picture("foolbox", n).resize(size, how) for n in names])}


def digits() -> dict[str, Array]:
    """Foolbox's 20 MNIST digits, [20,1,28,28] in 0 to 1."""
    names = sorted(n for n in members("foolbox") if "data/mnist_" in n)
    gray = [np.asarray(picture("foolbox", n).convert("L"), np.float32) for n in names]
    return {"image": np.asarray(np.stack(gray)[:, None] / 255, np.float32)}


def digit_network() -> Any:
    """The bundled network."""
    return lrp_onnx.digits.load()[0]


def rows(name: str) -> Callable[[], dict[str, Array]]:
    """A hundred held-out rows of a scikit-learn model's data."""

    def held_out() -> dict[str, Array]:
        from train_skl import split

        return {"X": split(name)[1][:100]}

    return held_out


def average(name: str) -> Callable[[], Array]:
    """The mean of the rows that it was trained on, one sample."""

    def mean() -> Array:
        from train_skl import split

        return np.asarray(split(name)[0].mean(0, keepdims=True), np.float32)

    return mean


DATA = {
    "ImageNet photos, EfficientNet-lite0": Data(lambda: model(LITE0), photos, True, BOX),
    "photos of scikit-image, EfficientNet-lite0": Data(lambda: model(LITE0), crops, ends=BOX),
    "CIFAR-10 enlarged, EfficientNet-lite0": Data(lambda: model(LITE0), small, ends=BOX),
    "MNIST digits, the bundled network": Data(digit_network, digits, ends=([0.0], [1.0])),
    "breast cancer, MLP": Data(
        lambda: model("skl_mlp_bc"),
        rows("skl_mlp_bc"),
        True,
        settings=(("output", "probabilities"), ("replacement", average("skl_mlp_bc"))),
    ),
    "digits as a table, MLP": Data(
        lambda: model("skl_mlp_digits"),
        rows("skl_mlp_digits"),
        True,
        settings=(("output", "probabilities"), ("replacement", average("skl_mlp_digits"))),
    ),
}


def measured(name: str, data: Data) -> list[str]:
    """One row of the table: what `auto` took, its SRG, that of the others, and of references."""
    samples = data.samples()
    count = len(next(iter(samples.values())))
    options = {key: value() if callable(value) else value for key, value in data.settings}
    others = [c for c in COMPOSITES if data.ends is not None or c not in RANGED]
    others = [c for c in others if data.ends is not None or c != "attnlrp"]
    found = lrp_onnx.evaluate(
        data.model(),
        samples,
        composites=[None, *others],
        ranges=None if data.ends is None else dict.fromkeys(samples, data.ends),
        redraw=0,
        **options,
    )
    by_name = {judged.name: judged for judged in found.judged}
    auto = next(judged for judged in found.judged if judged.is_default)
    best = max((by_name[c] for c in others if c in by_name), key=lambda j: j.srg.mean())
    gain, error = mean_and_error(auto.srg - best.srg)
    cells = [_cell(by_name.get(c)) for c in (*COMPOSITES, *REFERENCES)]
    mark = "yes" if data.chosen_on else "no"
    took = auto.name.removeprefix("auto ").strip("()")
    return [
        *(name, str(count), mark, f"{_cell(auto)} ({took})"),
        f"{gain:+.3f} ± {error:.3f} ({best.name})",
        *cells,
    ]


def _cell(judged: Any) -> str:
    if judged is None:
        return "-"
    mean, error = mean_and_error(judged.srg)
    return f"{mean:.3f} ± {error:.3f}"


def main() -> None:
    """Measure, print, and write the README's table if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name holds one of these words")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    arguments = parser.parse_args()
    words = [word for word in arguments.only.split(",") if word]
    head = ["model and data", "n", "chosen on it", "auto", "less the best fixed one"]
    lines = [[*head, *COMPOSITES, *REFERENCES]]
    for name, data in DATA.items():
        if not words or any(word in name for word in words):
            lines.append(measured(name, data))
            print(" | ".join(lines[-1]), flush=True)
    lines.insert(1, ["---"] * len(lines[0]))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if arguments.readme:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        made = f"{datetime.datetime.now(datetime.UTC).date()}, onnxruntime's CPU provider."
        README.write_text(f"{before}{BEGIN}\n{made}\n\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
