"""The files that `explain` writes: a picture, a page or arrays, by the ending of the name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lrp_onnx.cli.inputs import Inputs
from lrp_onnx.cli.samples import Sample, note_on
from lrp_onnx.data.layout import batched_axes, single_axes
from lrp_onnx.errors import InputError
from lrp_onnx.graph.session import Array
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.run.explainer import Explainer, Result

__all__ = ["noun_of", "write"]

SHARED = "Red speaks for the explained output, blue against it."
COLORS = {
    "gradient": "Red: the explained output rises with this value, blue: it falls.",
    "smooth-grad": "Red: the explained output rises with this value, blue: it falls.",
    "grad-cam": "The darker, the more the features of the layer speak for the explained output "
    "around here.",
    "saliency": "The darker, the more the explained output changes with this value.",
}
"""What the colors of a page mean, by method; SHARED of the others."""


def noun_of(explainer: Explainer) -> str:
    """The word for what the model computes: relevance, or a gradient method."""
    return METHODS[explainer.metadata["method"]].noun


def write(
    path: Path,
    explainer: Explainer,
    result: Result,
    inputs: Inputs,
    samples: Sequence[Sample],
    metadata: Mapping[str, str],
) -> None:
    """Write the picture, the page or the arrays.

    Raises InputError where a picture would have to show several inputs.
    """
    from lrp_onnx.visual.plot import save_heatmap
    from lrp_onnx.visual.report import save_arrays, save_html

    if path.suffix.lower() == ".npz":
        arrays = {f"{name}_relevance": r for name, r in result.relevance.items()}
        return save_arrays(path, {**result.outputs, **arrays}, metadata)
    name, noun = _pictured_input(explainer), noun_of(explainer)
    text, tokens = inputs.texts.get(name), None
    if text is None:
        relevance, values, axes = _pictured(explainer, name, result, inputs, len(samples))
    else:
        relevance, axes = text.sums(result.relevance[name]), "NF"
        values, tokens = None, [[word.text for word in text.words]] * len(samples)
    samples = [*samples] * (len(relevance) // len(samples))
    titles, preprocess = [sample.title for sample in samples], inputs.preprocess.get(name)
    if path.suffix.lower() == ".png":
        return save_heatmap(
            path, relevance, input=values, title=titles, axes=axes, preprocess=preprocess,
            tokens=tokens, metadata=metadata, what=noun,
        )  # fmt: skip
    through = next((f", through {sample.through}" for sample in samples if sample.through), "")
    return save_html(
        path,
        relevance,
        input=values,
        heading=f"{noun.capitalize()}: {Path(metadata['model']).name}{through}",
        titles=titles,
        tables=[_table(explainer, sample) for sample in samples],
        axes=axes,
        preprocess=preprocess,
        tokens=tokens,
        metadata=metadata,
        what=noun,
        meaning=COLORS.get(explainer.metadata["method"], SHARED),
    )


def _pictured_input(explainer: Explainer) -> str:
    names: list[str] = json.loads(explainer.metadata["explained"])
    if len(names) == 1:
        return names[0]
    listing = ", ".join(repr(name) for name in names)
    raise InputError(
        f"a picture shows one input, and {len(names)} are explained: {listing}. Choose one with "
        "--explain, or write an .npz file."
    )


def _pictured(
    explainer: Explainer, name: str, result: Result, inputs: Inputs, samples: int
) -> tuple[Array, Array, str]:
    """Relevance and input with their samples along axis 0, and what each axis is."""
    relevance, values = result.relevance[name], inputs.feeds[name]
    layout = inputs.preprocess[name].layout if name in inputs.preprocess else None
    if not relevance.ndim or len(relevance) == samples:
        wanted = next(w for w in explainer.inputs if w.name == name)
        return relevance, values, layout or batched_axes(wanted.shape)
    axes = layout or single_axes(relevance.shape)
    if "N" in axes:
        return relevance, values, axes
    return relevance[None], values[None], f"N{axes}"


def _table(explainer: Explainer, sample: Sample) -> dict[str, str]:
    """What a page says of one sample."""
    from lrp_onnx.visual.report import table_rows

    metadata = explainer.metadata
    target = sample.explained or metadata["target"]
    if sample.start is None:
        return {
            "prediction": sample.prediction,
            "target": target,
            "method": METHODS[metadata["method"]].describe(metadata),
            f"sum of {noun_of(explainer)}": f"{sample.total:.5g}",
        }
    rows = table_rows(
        prediction=sample.prediction,
        target=target,
        composite=metadata["composite"],
        total=sample.total,
        start=sample.start,
    )
    note = note_on([sample])
    return rows | ({"note": note} if note else {})
