"""The command `export triton`: a model repository of Triton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lrp_onnx.answer.explained import explained_rows
from lrp_onnx.answer.inputs import with_baselines
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.preprocess import bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.export.triton import TritonModel, write_repository

__all__ = ["TritonRequest", "export_repository"]


@dataclass(frozen=True)
class TritonRequest:
    """The arguments that only `export triton` has."""

    model: Path
    out: Path
    name: str
    preprocess: str | None
    batch: int


def export_repository(
    request: TritonRequest, options: Options, warn: Callable[[str | None], None]
) -> list[tuple[str, str]]:
    """Compile and write the repository; returns what to show.

    Raises LrpError as every step on the way does.
    """
    preprocess = None if request.preprocess is None else load_preprocess(request.preprocess)
    with StageProgress(options) as progress:
        loaded = load_original(request.model, progress)
        wanted = wanted_by(loaded.model)
        if preprocess is not None and len(wanted) != 1:
            raise InputError(
                f"--preprocess: the model has {len(wanted)} inputs, and the ensemble prepares one "
                "picture. Leave --preprocess out."
            )
        if preprocess is not None and preprocess.size is None:
            told = implied_preprocess(loaded.model.graph.inputs[0], loaded.model.metadata_props)
            preprocess = replace(preprocess, size=told.size if told else None)
        ranges = {} if preprocess is None else {wanted[0].name: bounds(preprocess)}
        chosen = with_baselines(options.compile, loaded.model, preprocess)
        compiled = compile_prepared(prepare(loaded, chosen, ranges))
    for text in compiled.warnings:
        warn(text)
    picture = None if preprocess is None else wanted[0]
    model = TritonModel(request.name, compiled, picture, preprocess, request.batch)
    names = write_repository(model, request.out)
    return [
        ("model", str(request.model)),
        *explained_rows(compiled),
        ("serves", ", ".join(names)),
        ("wrote", f"{request.out}. Serve it: tritonserver --model-repository {request.out}"),
    ]
