"""The bundled digit network explained on the bundled digits, end to end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from lrp_onnx.cli.tables import facts, table_of
from lrp_onnx.compiler.stages import compile
from lrp_onnx.data.digits import load as load_digits
from lrp_onnx.errors import OutputError
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.run.explainer import Explainer

__all__ = ["Demo", "Digit", "run_demo"]

COLUMNS = 4


@dataclass(frozen=True)
class Digit:
    """One digit: what it is, what the model says, and the sum of the relevance of its pixels."""

    label: int
    prediction: int
    logit: float
    relevance: float


@dataclass(frozen=True)
class Demo:
    """What the demo explained and wrote."""

    digits: tuple[Digit, ...]
    composite: str
    provider: str
    files: dict[str, Path]

    def to_json(self) -> dict[str, object]:
        """The same for machines."""
        return {
            "digits": [asdict(digit) for digit in self.digits],
            "composite": self.composite,
            "provider": self.provider,
            "files": {what: str(path) for what, path in self.files.items()},
        }

    def tables(self) -> tuple[Table, Table]:
        """A row for each digit, then by what they are explained and the files."""
        headings = ["digit", "read as", "logit", "sum of relevance"]
        rows = [
            [str(d.label), str(d.prediction), f"{d.logit:.4f}", f"{d.relevance:.4f}"]
            for d in self.digits
        ]
        wrote = [(what, str(path)) for what, path in self.files.items()]
        about = [("composite", self.composite), ("ran on", self.provider), *wrote]
        return table_of(headings, rows, numbers=4), facts(about)


def run_demo(folder: Path) -> Demo:
    """Compile the digit model, explain a dozen digits, write both, compiled model and picture.

    Raises OutputError where the folder cannot be written.
    """
    if not folder.is_dir():
        raise OutputError(f"folder '{folder}': it does not exist. Create it or name another.")
    names = {
        "model": "digits.onnx",
        "inputs": "digits.npy",
        "compiled model": "digits.lrp.onnx",
        "picture": "digits.png",
    }
    files = {what: folder / name for what, name in names.items()}
    model, images, labels = load_digits()
    with atomic(files["model"]) as temporary:
        temporary.write_bytes(model)
    x = (images[:, None] / 255).astype(np.float32)
    with atomic(files["inputs"]) as temporary:
        np.save(temporary, x)
    compiled = compile(files["model"])
    compiled.save(files["compiled model"])
    explainer = Explainer(files["compiled model"])
    result = explainer(x)
    logits, relevance = result.outputs["logits"], result.relevance["image"][:, 0]
    explained = tuple(
        Digit(int(label), int(y.argmax()), float(y.max()), float(r.sum(dtype=np.float64)))
        for label, y, r in zip(labels, logits, relevance, strict=True)
    )
    _draw(files["picture"], images, relevance, explained)
    return Demo(explained, explainer.metadata["composite"], explainer.provider, files)


def _draw(path: Path, images: np.ndarray, relevance: np.ndarray, digits: tuple[Digit, ...]) -> None:
    from lrp_onnx.visual.grid import save_grid
    from lrp_onnx.visual.panel import Panel

    panels = []
    for image, r, digit in zip(images, relevance, digits, strict=True):
        panels.append(Panel(image, f"a {digit.label}, read as {digit.prediction}"))
        panels.append(Panel(r, f"relevance, sum {digit.relevance:.4g}"))
    width = 2 * COLUMNS
    rows = [panels[k : k + width] for k in range(0, len(panels), width)]
    title = "Which strokes speak for the digit that the network reads (red), and which against it"
    save_grid(path, rows, title=title, metadata={"model": "lrp-onnx bundled digits"})
