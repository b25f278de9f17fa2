"""A static page that explains pictures in the browser: models, settings, ONNX Runtime's files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.data.layout import batched_axes
from lrp_onnx.data.preprocess import Preprocess, bounds
from lrp_onnx.errors import InputError, OutputError, TargetError
from lrp_onnx.graph.annotations import RELEVANCE, stamp_of
from lrp_onnx.graph.arrays import Wanted
from lrp_onnx.graph.atomic_files import atomic

__all__ = ["RUNTIME", "WebPage", "runtime_files", "write_page"]

RUNTIME = "onnxruntime/"
BOX = 4
"""Numbers of a box."""
PACKAGE = Path("node_modules", "onnxruntime-web")
SCRIPT = "ort.webgpu.min.mjs"
LOADED = r"ort-wasm-simd-threaded[\w.]*\.mjs"
"""What the page loads of the package's folder `dist`, and how that names what it loads itself; of
each there is a .wasm file beside it.
"""


@dataclass(frozen=True)
class WebPage:
    """What the page needs to know."""

    want: Wanted
    """The model's picture."""
    preprocess: Preprocess
    models: Mapping[str, Compiled]
    """By the name of the composite; all with the same inputs and outputs."""
    labels: Mapping[int, str] | None = None
    runtime: str = RUNTIME
    """Where the browser loads ONNX Runtime from."""

    def _head(self, stamp: Mapping[str, str]) -> dict[str, object] | None:
        """Where a detector's output has the scores of its classes; None where the page cannot say
        which of them is explained; `box`: whether four numbers of a box stand in front of them.
        """
        head = json.loads(stamp.get("head") or "null")
        told = head is not None and head["kind"] == "mixed" and stamp["target"] == "argmax"
        if not told or head["compared"]:
            return None
        told = {key: head[key] for key in ("axis", "scores", "objectness")}
        return {**told, "box": BOX in (head["scores"][0], head["objectness"])}

    def settings(self) -> dict[str, object]:
        """What `page.js` reads."""
        graph = next(iter(self.models.values())).graph
        stamp = stamp_of(graph.metadata_props)
        axes = self.preprocess.layout or batched_axes(self.want.shape)
        sizes = dict(zip(axes, self.want.shape, strict=True))
        own = self.preprocess.size or (sizes["H"], sizes["W"])
        if not all(isinstance(size, int) for size in own):
            raise InputError(
                f"input {self.want.name!r} of shape {list(self.want.shape)}: its height and width "
                "are open. Give --preprocess FILE.toml with size = [height, width]."
            )
        low, high = bounds(self.preprocess)
        labels = self.labels
        return {
            "runtime": self.runtime,
            "input": self.want.name,
            "output": stamp["output"],
            "relevance": f"{self.want.name}{RELEVANCE}",
            "target": stamp["target"] == "input",
            "head": self._head(stamp),
            "axes": axes,
            "height": own[0],
            "width": own[1],
            "channels": sizes["C"] if isinstance(sizes["C"], int) else 3,
            "dtype": str(self.want.dtype),
            "shape": [{"N": 1, "H": own[0], "W": own[1]}.get(a, sizes[a]) for a in axes],
            "preprocess": asdict(self.preprocess),
            "low": low,
            "high": high,
            "labels": None if labels is None else [labels.get(k) for k in range(max(labels) + 1)],
            "models": [{"name": name, "file": file_of(name)} for name in self.models],
        }


def file_of(composite: str) -> str:
    """The file of a composite's model."""
    return f"{Path(composite).stem}.onnx"


def runtime_files(folder: Path | None) -> list[Path]:
    """The files of onnxruntime-web in the package's folder, or in node_modules here or above.

    Raises InputError where there are none.
    """
    places = [folder] if folder else [p / PACKAGE for p in (Path.cwd(), *Path.cwd().parents)]
    for place in places:
        script = place / "dist" / SCRIPT
        if script.is_file():
            text = script.read_text(encoding="utf-8")
            loaded = [script.with_name(n) for n in sorted(set(re.findall(LOADED, text)))]
            return [script, *loaded, *(file.with_suffix(".wasm") for file in loaded)]
    where = f"'{folder}'" if folder else "node_modules here or above"
    raise InputError(
        f"onnxruntime-web is not in {where}. Run: npm install onnxruntime-web; or give "
        "--runtime-url https://cdn.jsdelivr.net/npm/onnxruntime-web/dist/"
    )


def write_page(page: WebPage, runtime: list[Path], out: Path) -> None:
    """Write the folder: page, settings, models, and the runtime's files.

    Raises InputError for an input that is no float or uint8 picture, TargetError where several
    outputs are explained.
    """
    if page.want.dtype not in (np.float32, np.uint8) or len(page.want.shape) != 4:
        raise InputError(
            f"input {page.want.name!r} is {page.want.dtype} {list(page.want.shape)}, and the page "
            "feeds pictures, float32 or uint8 with 4 axes."
        )
    for compiled in page.models.values():
        if "outputs" in stamp_of(compiled.graph.metadata_props):
            raise TargetError("several outputs are explained. The page shows one: name --output.")
    settings = page.settings()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output '{out}': {error.strerror}. Name another folder.") from error
    for name in ("index.html", "page.js", "prepare.js", "colors.js", "boxes.js"):
        _write(out / name, files(__package__).joinpath("page", name).read_bytes())
    for name, compiled in page.models.items():
        compiled.save(out / file_of(name))
    if runtime:
        (out / RUNTIME).mkdir(exist_ok=True)
        for file in runtime:
            _write(out / RUNTIME / file.name, file.read_bytes())
    _write(out / "settings.json", json.dumps(settings, indent=1).encode())


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
