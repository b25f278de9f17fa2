"""The command `explain` with several composites: one input, a map of each, in one picture."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lrp_onnx.answer.destination import check_writable, made_folder
from lrp_onnx.answer.explain_one import Answer, about_result
from lrp_onnx.answer.inputs import Inputs, read_inputs
from lrp_onnx.answer.open_model import OpenModel, Request, Warn, open_model
from lrp_onnx.answer.output_files import drawing_of, whole_page, write_drawing, write_page
from lrp_onnx.answer.questions import asked_at_once
from lrp_onnx.answer.results import check_finite, class_count
from lrp_onnx.answer.sample_files import SampleFiles
from lrp_onnx.answer.samples import Sample, note_on, samples_of
from lrp_onnx.compiler.stages import Loaded
from lrp_onnx.errors import CompositeError
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.result import Result

__all__ = ["explain_composites"]


@dataclass(frozen=True)
class _One:
    """What one composite says."""

    name: str
    model: OpenModel
    result: Result
    samples: list[Sample]


def explain_composites(
    request: Request,
    options: CompileOptions,
    loaded: Loaded,
    sources: SampleFiles | None,
    warn: Warn,
) -> Answer:
    """Explain the inputs of one run by each composite, side by side in one picture or page.

    Raises LrpError as every step on the way does, CompositeError where no picture could compare.
    """
    if sources is not None:
        raise _not_comparable("several inputs are given", "Give one")
    preprocess = request.load_preprocess()
    with asked_at_once(options, loaded):
        inputs = read_inputs(loaded.model, request.inputs, preprocess, request.reader)
    out = request.out.of_one(inputs.place)
    if out.suffix.lower() in (".npz", ".csv"):
        raise _not_comparable("arrays are no picture", "Write a .png or .html, or give one")
    check_writable(out, request.model, *inputs.files.values(), made=request.out.is_folder)
    every = []
    for name in request.composites:
        compiling = replace(options, composite=name)
        own = replace(loaded, model=loaded.model.clone())
        model = open_model(request, compiling, own, inputs, preprocess, warn)
        _check_comparable(model)
        result = model.run(inputs)
        check_finite(model.explainer, result, inputs, request.model)
        about = model.labels, model.conserving, model.through
        every.append(_One(name, model, result, samples_of(model.explainer, result, *about)))
    with made_folder(out.parent) if request.out.is_folder else nullcontext():
        drawn = _write(request, inputs, every, out)
    return Answer(_rows(every, drawn, out), out)


def _not_comparable(fact: str, remedy: str) -> CompositeError:
    return CompositeError(f"several composites: {fact}, and one picture compares. {remedy}.")


def _check_comparable(model: OpenModel) -> None:
    if len(model.outputs) > 1:
        raise _not_comparable("several outputs are explained", "Name one with --output")
    if class_count(model.explainer) or model.other is not None:
        raise _not_comparable("several classes or embeddings are explained", "Choose one --target")


def _write(request: Request, inputs: Inputs, every: list[_One], out: Path) -> str:
    """The maps of a sample by each composite stand together."""
    first = every[0]
    about = about_result(first.model, first.model.explainer, inputs, first.result, None)
    names = [one.name for one in every]
    about["composite"] = ", ".join(names)
    pages = [
        whole_page(one.model.explainer, one.result, inputs, one.samples, request.picture)
        for one in every
    ]
    if own := [page for page in pages if page is not None]:
        from lrp_onnx.visual.page import joined

        return write_page(out, first.model.explainer, joined(own), about)
    drawings = [
        drawing_of(one.model.explainer, one.result, inputs, one.samples, request.picture)
        for one in every
    ]
    pattern, count = drawings[0], len(every)
    maps = np.stack([drawing.relevance for drawing in drawings], 1)
    relevance = maps.reshape(-1, *maps.shape[2:])
    headlines = [text for text in pattern.titles for _ in every]
    drawing = replace(
        pattern,
        relevance=relevance,
        input=None if pattern.input is None else np.repeat(pattern.input, count, 0),
        tokens=None if pattern.tokens is None else [t for t in pattern.tokens for _ in every],
        asides=[d.asides[k] for k in range(len(pattern.asides)) for d in drawings],
        titles=names * len(pattern.titles),
        subtitles=headlines,
        tables=[d.tables[k] for k in range(len(pattern.titles)) for d in drawings],
        together=count,
        one_scale=False,
        headings=headlines,
        by="each composite in its own scale of colors",
        boxes=[box for box in pattern.boxes for _ in every],
    )
    return write_drawing(out, first.model.explainer, drawing, about)


def _rows(every: list[_One], drawn: str, out: Path) -> list[tuple[str, str]]:
    first = every[0]
    rows = [("model", str(first.model.request.model))]
    rows += [("sample", sample.title) for sample in first.samples]
    for one in every:
        sums = ", ".join(f"sum {sample.conservation}" for sample in one.samples)
        rows.append((one.name, sums))
        rows += [("note", note)] if (note := note_on(one.samples)) else []
    rows += [("drawn", drawn)] if drawn else []
    return [*rows, ("ran on", first.model.explainer.provider), ("wrote", str(out))]
