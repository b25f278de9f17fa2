"""The command `export web`: a folder with a page that explains pictures in the browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from lrp_onnx.answer.class_names import checked_names
from lrp_onnx.answer.explained import explained_rows
from lrp_onnx.answer.inputs import with_baselines
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.named_target import names_in_model
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.preprocess import Preprocess, bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.export.web import RUNTIME, WebPage, runtime_files, write_page
from lrp_onnx.graph.annotations import stamp_of
from lrp_onnx.options import CompileOptions

__all__ = ["WebRequest", "export_page"]

Warn = Callable[[str | None], None]
UNKNOWN_PREPARATION = (
    "how the model's pictures were normalized is not in the model. Give --preprocess imagenet, "
    "inception, unit, byte or FILE.toml: what it was trained with."
)


@dataclass(frozen=True)
class WebRequest:
    """The arguments that only `export web` has."""

    model: Path
    out: Path
    preprocess: str | None
    composites: tuple[str, ...]
    runtime_url: str | None
    runtime_files: Path | None


def export_page(request: WebRequest, options: Options, warn: Warn) -> list[tuple[str, str]]:
    """Compile for each composite and write the folder; returns what to show.

    Raises LrpError as every step on the way does.
    """
    url = request.runtime_url
    original = load_original(request.model).model
    runtime = _runtime(request, original)
    names = names_in_model(original, options.compile.output)
    with StageProgress(options) as progress:
        models = {}
        for composite in request.composites:
            chosen = replace(options.compile, composite=composite)
            page, compiled = _compiled(request, chosen, progress)
            name = composite
            if composite == "auto":
                name = stamp_of(compiled.graph.metadata_props).get("composite", composite)
            models[name] = compiled
            for text in compiled.warnings:
                warn(text)
    labels = checked_names(options.compile.labels, names, compiled.graph, warn)
    place = url.rstrip("/") + "/" if url else RUNTIME
    write_page(replace(page, models=models, labels=labels, runtime=place), runtime, request.out)
    return [
        ("model", str(request.model)),
        *explained_rows(next(iter(models.values()))),
        ("composites", ", ".join(models)),
        ("runtime", place),
        ("wrote", f"{request.out}. To look at it: python -m http.server -d {request.out}"),
    ]


def _runtime(request: WebRequest, original: ir.Model) -> list[Path]:
    """The files of the runtime, none where it has an address. Raises InputError that names all
    that is missing at once, of the runtime and of how pictures are prepared.
    """
    files, lacking = list[Path](), list[str]()
    try:
        files = [] if request.runtime_url else runtime_files(request.runtime_files)
    except InputError as error:
        lacking.append(str(error))
    try:
        if len(original.graph.inputs):
            _preprocess(request, original)
    except InputError as error:
        lacking.append(str(error))
    if lacking:
        raise InputError(" Besides, ".join(lacking))
    return files


def _compiled(
    request: WebRequest, options: CompileOptions, progress: StageProgress
) -> tuple[WebPage, Compiled]:
    """The model compiled for pictures; for any class, where it has classes and the user does not
    choose one.
    """
    compiled = None
    for target in (options.target, "input"):
        loaded = load_original(request.model, progress)
        wanted = wanted_by(loaded.model)
        if len(wanted) != 1:
            raise InputError(
                f"the model has {len(wanted)} inputs, and the page gives one picture. Serve it "
                "with export triton."
            )
        preprocess = _preprocess(request, loaded.model)
        page = WebPage(wanted[0], preprocess, {})
        ranges = {wanted[0].name: bounds(preprocess)}
        chosen = with_baselines(replace(options, target=target), loaded.model, preprocess)
        compiled = compile_prepared(prepare(loaded, chosen, ranges))
        stamp = stamp_of(compiled.graph.metadata_props)
        if options.target != "argmax" or not stamp["class_axis"] or stamp.get("head"):
            break
    assert compiled is not None
    return page, compiled


def _preprocess(request: WebRequest, model: ir.Model) -> Preprocess:
    """What the user says, or what the model's first nodes or metadata imply."""
    if request.preprocess is not None:
        return load_preprocess(request.preprocess)
    implied = implied_preprocess(model.graph.inputs[0], model.metadata_props)
    if implied is None:
        raise InputError(UNKNOWN_PREPARATION)
    return implied
