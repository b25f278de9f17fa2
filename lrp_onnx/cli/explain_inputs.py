"""The command `explain`: what is given is one sample or many."""

from __future__ import annotations

from lrp_onnx.cli.explain import Answer, explain_one
from lrp_onnx.cli.explain_composites import explain_composites
from lrp_onnx.cli.explain_folder import explain_many
from lrp_onnx.cli.open_model import Request, Warn
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.cli.sample_files import check_given, sample_files
from lrp_onnx.compiler.stages import load_any

__all__ = ["explain_inputs"]


def explain_inputs(request: Request, options: Options, batch: int, warn: Warn) -> Answer:
    """Do what the command asks. Raises LrpError as every step on the way does."""
    with StageProgress(options) as progress:
        loaded = load_any(request.model, progress)
        check_given(loaded.model, request.inputs, request.model)
        sources = sample_files(loaded.model, request.inputs, warn)
        if request.composites:
            return explain_composites(request, options, loaded, sources, warn)
        if sources is None:
            return explain_one(request, options, loaded, warn)
        return explain_many(request, options, loaded, sources, batch, progress, warn)
