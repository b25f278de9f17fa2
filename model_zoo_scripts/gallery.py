"""Explain foolbox's 20 ImageNet photos with efficientnet_lite0 under five composites.

    python model_zoo_scripts/gallery.py [OUT.png]

One row a photo: the photo with the class of its file name, the predicted class and its logit, then
the relevance of the prediction under each composite, diverging colors with white at zero. Each
heatmap has a scale of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from feed_pictures import Array, imagenet_photos, scaled
from obtain import model
from rich.progress import track

import lrp_onnx
from lrp_onnx.visual.grid import save_grid
from lrp_onnx.visual.panel import Panel

__all__ = ["draw", "explain", "main"]

MODEL = "efficientnet_lite0_dynamo"
BOX = {"low": (0 - 127) / 128, "high": (255 - 127) / 128}  # black and white, as `scaled` has them
COMPOSITES: dict[str, dict[str, Any]] = {
    "epsilon": {},
    "epsilon-plus-flat": {},
    "epsilon-gamma-box": BOX,
    "epsilon-alpha2-beta1-flat": {},
    "excitation-backprop": {},
}


def explain(composite: str, x: Array) -> tuple[Array, Array]:
    """Return logits [N,1000] and relevance summed over the colors, [N,H,W]."""
    compiled = lrp_onnx.compile(model(MODEL), composite=composite, parameters=COMPOSITES[composite])
    explainer = lrp_onnx.Explainer(compiled)
    results = [explainer(x[start : start + 5]) for start in range(0, len(x), 5)]
    logits = np.concatenate([result.outputs["logits"] for result in results])
    relevance = np.concatenate([result.relevance["input"] for result in results])
    return logits, relevance.sum(axis=1)


def main() -> None:
    """Explain the photos under every composite, print what was kept, write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "out", nargs="?", type=Path, default=Path("gallery.png"), metavar="OUT.png",
        help="file to write [gallery.png]",
    )  # fmt: skip
    draw(parser.parse_args().out)


def draw(path: Path) -> None:
    """The same, to that file."""
    photos = imagenet_photos()
    x = scaled([photo for _, photo in photos])
    columns = [explain(name, x) for name in track(COMPOSITES, "explaining")]
    logits = columns[0][0]
    for name, (_, relevance) in zip(COMPOSITES, columns, strict=True):
        kept = relevance.sum(axis=(1, 2)) / logits.max(axis=1)
        print(f"{name}: sum of relevance / logit from {kept.min():.2g} to {kept.max():.2g}")
    rows, titles = [], []
    for k, (label, photo) in enumerate(photos):
        small = Panel(np.asarray(photo.resize((224, 224))), f"class {label}")
        maps = zip(COMPOSITES, columns, strict=True)
        rows.append([small, *(Panel(relevance[k], name) for name, (_, relevance) in maps)])
        titles.append(f"predicted {logits[k].argmax()}, logit {logits[k].max():.1f}")
    save_grid(path, rows, title=f"{MODEL}: relevance of the predicted class", row_titles=titles)
    right = sum(label == found for (label, _), found in zip(photos, logits.argmax(1), strict=True))
    print(f"{right} of {len(photos)} photos named correctly; picture in {path}")


if __name__ == "__main__":
    main()
