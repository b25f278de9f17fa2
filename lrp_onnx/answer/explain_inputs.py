"""What is given to `explain`: one sample, or many, or one under several composites."""

from __future__ import annotations

from lrp_onnx.answer.explain_composites import explain_composites
from lrp_onnx.answer.explain_folder import explain_many
from lrp_onnx.answer.explain_one import Answer, explain_one
from lrp_onnx.answer.open_model import Request, Warn
from lrp_onnx.answer.sample_files import check_given, sample_files
from lrp_onnx.compiler.stages import Loaded
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.question import Watch

__all__ = ["explain_inputs"]


def explain_inputs(
    request: Request, options: CompileOptions, loaded: Loaded, batch: int,
    watch: Watch, warn: Warn,
) -> Answer:  # fmt: skip
    """Do what the command asks. Raises LrpError as every step on the way does."""
    check_given(loaded.model, request.inputs, request.model)
    sources = sample_files(loaded.model, request.inputs, warn)
    if request.composites:
        return explain_composites(request, options, loaded, sources, warn)
    if sources is None:
        return explain_one(request, options, loaded, warn)
    return explain_many(request, options, loaded, sources, batch, watch, warn)
