"""What an explanation says, sample by sample, and the picture, page or arrays it becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lrp_onnx.cli.material import Material
from lrp_onnx.cli.sample import Sample
from lrp_onnx.data.labels import class_name
from lrp_onnx.data.layout import batched_axes, single_axes
from lrp_onnx.errors import InputError, OutputError, TargetError
from lrp_onnx.graph.annotations import TOPK_INDEX
from lrp_onnx.graph.session import Array
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.run.explainer import Explainer, Result

__all__ = [
    "FORMATS",
    "check_format",
    "missing_labels",
    "samples",
    "what_of",
    "write",
]

FORMATS = (".png", ".html", ".npz")


def check_format(path: Path) -> None:
    """Raise OutputError for a name that ends in no format that is written."""
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"output '{path}': results are written as .png, .html or .npz. Name one of these."
        )


def missing_labels(
    explainer: Explainer, result: Result, labels: Mapping[int, str] | None
) -> str | None:
    """A sentence where there are fewer labels than classes."""
    y, axis = result.outputs[explainer.metadata["output"]], explainer.metadata["class_axis"]
    classes = y.shape[int(axis)] if axis and y.ndim < 3 else 0
    if labels is None or len(labels) >= classes:
        return None
    return f"{len(labels)} label{'s' * (len(labels) != 1)} for {classes} classes"


def samples(
    explainer: Explainer,
    result: Result,
    labels: Mapping[int, str] | None,
    conserving: bool = True,
    through: str = "",
) -> list[Sample]:
    """One entry a sample of the batch; relevance at the output, if it is there, is its starting
    relevance.

    conserving: whether all relevance but what is absorbed should arrive at the explained inputs.
    through: the channels that it had to pass.
    """
    output = explainer.metadata["output"]
    start, whole = result.relevance.get(output), result.outputs[output]
    maps = [result.relevance[name] for name in json.loads(explainer.metadata["explained"])]
    own = _sample_by_sample(explainer, whole, maps)
    batch = len(own)
    starts = None if start is None else start.reshape(batch, -1).sum(axis=1, dtype=np.float64)
    totals = np.zeros(batch)
    for r in maps:
        totals += r.reshape(batch, -1).sum(axis=1, dtype=np.float64)
    several = result.outputs.get(f"{output}{TOPK_INDEX}")
    said = [
        _said(explainer, y, labels, None if several is None else several[k])
        for k, y in enumerate(own)
    ]
    return [
        Sample(
            *said[k],
            None if starts is None else float(starts[k]),
            float(totals[k]),
            conserving,
            through,
        )
        for k in range(batch)
    ]


def _sample_by_sample(explainer: Explainer, y: Array, maps: Sequence[Array]) -> Array:
    """The output with its samples along axis 0: one, where that is no axis that the inputs have.

    Raises TargetError where numbers of samples would then be classes.
    """
    if not y.ndim or explainer.metadata["class_axis"] == "0":
        return y[None]
    if len(y) == 1 or all(r.ndim and len(r) == len(y) for r in maps):
        return y
    if y.ndim == 1 and explainer.metadata["target"] != "all":
        name = explainer.metadata["output"]
        raise TargetError(
            f"output {name!r} of shape {list(y.shape)}: are these {len(y)} samples of a batch, or "
            f"the classes of one sample? What is explained, of shape {list(maps[0].shape)}, has no "
            f"batch of {len(y)}. Use --class-axis 0 for classes, or --target all for their sum."
        )
    return y[None]


def _said(
    explainer: Explainer, y: Array, labels: Mapping[int, str] | None, chosen: Array | None
) -> tuple[str, str]:
    """The prediction of one sample in words, and what was explained if it is something else.

    chosen: of target `top-K` the class.
    """
    target = explainer.metadata["target"]
    if y.ndim != 1 or not explainer.metadata["class_axis"]:  # no class, or one for each place
        name = explainer.metadata["output"]
        shown = f"{float(y):.5g}" if y.ndim == 0 else f"of shape {list(y.shape)}"
        return f"{name} {shown}", "" if y.ndim == 0 else target
    best = int(np.argmax(y))
    prediction = _scored(best, y, labels)
    parts = target.split("-") if chosen is None else map(str, chosen.ravel())
    classes = [int(part) for part in parts if part.isdigit()]
    if target in ("argmax", "max") or classes == [best]:
        return prediction, ""
    return prediction, " against ".join(_scored(k, y, labels) for k in classes) or target


def _scored(index: int, y: Array, labels: Mapping[int, str] | None) -> str:
    probabilities = y.size > 1 and y.min() >= 0 and abs(float(y.sum()) - 1) < 1e-3
    value = float(y[index])
    return f"{class_name(labels, index)}, {f'{value:.2%}' if probabilities else f'{value:.5g}'}"


def write(
    path: Path,
    explainer: Explainer,
    result: Result,
    material: Material,
    told: list[Sample],
    metadata: Mapping[str, str],
) -> None:
    """Write the picture, the page or the arrays, by the ending of the name."""
    if path.suffix.lower() == ".npz":
        from lrp_onnx.visual.report import save_arrays

        arrays = {f"{name}_relevance": r for name, r in result.relevance.items()}
        return save_arrays(path, {**result.outputs, **arrays}, metadata)
    name = _shown_input(explainer)
    relevance, values, axes = _drawn(explainer, name, result, material, len(told))
    how, told = material.preprocess.get(name), told * (len(relevance) // len(told))
    if path.suffix.lower() == ".png":
        from lrp_onnx.visual.plot import save_heatmap

        return save_heatmap(
            path,
            relevance,
            input=values,
            title=[sample.title for sample in told],
            axes=axes,
            preprocess=how,
            metadata=metadata,
            what=what_of(explainer),
        )
    from lrp_onnx.visual.report import save_html

    save_html(
        path,
        relevance,
        input=values,
        heading=_heading(explainer, told, Path(metadata["model"]).name),
        titles=[sample.title for sample in told],
        tables=[
            _rows(explainer, sample) | ({"note": sample.note} if sample.note else {})
            for sample in told
        ],
        axes=axes,
        preprocess=how,
        metadata=metadata,
        what=what_of(explainer),
        meaning=MEANING.get(explainer.metadata["method"], SHARED),
    )
    return None


def _drawn(
    explainer: Explainer, name: str, result: Result, material: Material, samples: int
) -> tuple[Array, Array, str]:
    """Relevance and input with their samples along axis 0, and what each axis is."""
    relevance, values, how = result.relevance[name], material.feeds[name], None
    if name in material.preprocess:
        how = material.preprocess[name].layout
    if not relevance.ndim or len(relevance) == samples:
        wanted = next(w for w in explainer.inputs if w.name == name)
        return relevance, values, how or batched_axes(wanted.shape)
    axes = how or single_axes(relevance.shape)
    if "N" in axes:
        return relevance, values, axes
    return relevance[None], values[None], f"N{axes}"


def _heading(explainer: Explainer, told: Sequence[Sample], model: str) -> str:
    """Of the page: what it shows, of which model, through which channels."""
    through = next((f", through {sample.through}" for sample in told if sample.through), "")
    return f"{what_of(explainer).capitalize()}: {model}{through}"


SHARED = "Red speaks for the explained output, blue against it."
MEANING = {
    "gradient": "Red: the explained output rises with this value, blue: it falls.",
    "saliency": "The darker, the more the explained output changes with this value.",
}
"""What the colors say, by method; SHARED of the others."""


def what_of(explainer: Explainer) -> str:
    """The word for what the model computes: relevance, or a gradient method."""
    return METHODS[explainer.metadata["method"]].noun


def _rows(explainer: Explainer, sample: Sample) -> dict[str, str]:
    """The table of one sample."""
    from lrp_onnx.visual.report import table_rows

    target = sample.explained or explainer.metadata["target"]
    if sample.start is None:
        return {
            "prediction": sample.prediction,
            "target": target,
            "method": METHODS[explainer.metadata["method"]].describe(explainer.metadata),
            f"sum of {what_of(explainer)}": f"{sample.total:.5g}",
        }
    return table_rows(
        prediction=sample.prediction,
        target=target,
        composite=explainer.metadata["composite"],
        total=sample.total,
        start=sample.start,
    )


def _shown_input(explainer: Explainer) -> str:
    names: list[str] = json.loads(explainer.metadata["explained"])
    if len(names) == 1:
        return names[0]
    listing = ", ".join(repr(name) for name in names)
    raise InputError(
        f"a picture shows one input, and {len(names)} are explained: {listing}. Choose one with "
        "--explain, or write an .npz file."
    )
