"""A model opened for `explain`: compiled for its inputs, or compiled already, and run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from dataclasses import field as dataclass_field
from pathlib import Path

import onnx_ir as ir

from lrp_onnx.answer.class_names import Labels, check_class_names, known_names
from lrp_onnx.answer.destination import Destination
from lrp_onnx.answer.each_output import by_output
from lrp_onnx.answer.fit import odd_scales
from lrp_onnx.answer.given_target import KINDS, read_target, target_and_value
from lrp_onnx.answer.inputs import Inputs, Reader, read_inputs, with_baselines
from lrp_onnx.answer.results import maps_as_arrays
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.named_target import names_in_model
from lrp_onnx.compiler.stages import Loaded, compile_prepared, prepare
from lrp_onnx.data.preprocess import Preprocess, load_preprocess
from lrp_onnx.errors import ModelError, TargetError, plain
from lrp_onnx.graph.annotations import VERSION, each_output
from lrp_onnx.graph.arrays import Array
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import CompileOptions, PictureOptions
from lrp_onnx.run.condition_mask import read_conditions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result

__all__ = ["OpenModel", "Request", "Warn", "open_model"]

Warn = Callable[[str | None], None]


@dataclass(frozen=True)
class Request:
    """The arguments that only `explain` has."""

    model: Path
    inputs: tuple[str, ...]
    out: Destination
    preprocess: str | None = None
    tokenizer: str | None = None
    row: int | None = None
    rate: int | None = None
    picture: PictureOptions = dataclass_field(default_factory=PictureOptions)
    composites: tuple[str, ...] = ()
    """Several that are compared in one picture; empty where there is one."""

    @property
    def reader(self) -> Reader:
        """What reads texts, tables and sounds."""
        return Reader(self.model, self.tokenizer, self.row, self.rate)

    def load_preprocess(self) -> Preprocess | None:
        """How the model wants its pictures, where the user says."""
        return None if self.preprocess is None else load_preprocess(self.preprocess)


@dataclass(frozen=True)
class OpenModel:
    """A compiled model that can be run, and what was asked of it."""

    request: Request
    compiled: Compiled
    explainer: Explainer
    labels: Labels | None
    parameters: str
    """Of the rules, in words."""
    conserving: bool
    """Whether LRP rules take the relevance to all inputs: no gradients, no input left out."""
    chosen: Mapping[str, Sequence[int]]
    """The channels that relevance must pass, by tensor."""
    target: Array | None
    """What targets `input` and `seed` are run with."""
    listed: Sequence[str]
    """The tensors whose largest channels are shown."""
    hidden: frozenset[str]
    """Tensors whose relevance is computed for what is shown, and not written."""
    other: Inputs | None = None
    """The input whose embedding is compared."""

    @property
    def outputs(self) -> list[str]:
        """The explained outputs."""
        return [one["output"] for one in each_output(self.explainer.metadata)]

    @property
    def through(self) -> str:
        """The channels that relevance must pass, in words."""
        return "; ".join(f"{name}: {', '.join(map(str, k))}" for name, k in self.chosen.items())

    def run(self, inputs: Inputs) -> Result:
        """Explain them. Raises InputError where there are more or fewer names than classes."""
        result = self.explainer.unchecked(inputs.feeds, self.target, conditions=self.chosen)
        result = maps_as_arrays(self.explainer, result)
        for explainer, own in by_output(self.explainer, result):
            check_class_names(explainer.metadata, own.outputs, self.labels)
        return result


def open_model(
    request: Request,
    options: CompileOptions,
    loaded: Loaded,
    inputs: Inputs,
    preprocess: Preprocess | None,
    warn: Warn,
    accounts: bool = False,
) -> OpenModel:
    """Compile the model for such inputs, and open it.

    accounts: whether a path of gradients tells how far its steps alone are off.
    """
    options, value = target_and_value(options)
    if VERSION in loaded.model.metadata_props:
        return _open_compiled(request, options, value, loaded, inputs, preprocess, warn)
    other = None
    if options.target == "similarity":
        other = _other_input(request, options, loaded, inputs, value, preprocess)
    names = names_in_model(loaded.model, options.output) if options.labels is None else {}
    conditions = read_conditions(options.conditions)
    chosen = {name: channels for name, channels in conditions.items() if channels is not None}
    listed = [name for name in conditions if name not in chosen]
    asked = options.relevance_at
    options = with_baselines(options, loaded.model, preprocess)
    options = replace(options, conditions=tuple(conditions), relevance_at=(*asked, *listed))
    prepared = prepare(loaded, options, inputs.ranges)
    for text in odd_scales(loaded.model, inputs):
        warn(text)
    assignment = prepared.assignment
    # relevance at the output is what it started with
    start = [str(a.output.name) for a in assignment.each] if assignment.method.rules else []
    compiled = compile_prepared(
        prepared.with_relevance_at(start), accounts and assignment.method.integrates
    )
    for text in compiled.warnings:
        warn(text)
    explainer = Explainer(compiled)
    warn(explainer.notice)
    # gradients share out nothing, and inputs left out get none of it
    gradients = any(line.rule == "gradient" for line in compiled.report)
    return OpenModel(
        request=request,
        compiled=compiled,
        explainer=explainer,
        labels=known_names(options.labels, names, compiled.graph, warn),
        parameters=", ".join(f"{k}={_short(v)}" for k, v in assignment.parameters.items()),
        conserving=not chosen and not gradients and options.explain is None,
        chosen=chosen,
        target=read_target(explainer, value),
        listed=listed,
        hidden=frozenset({*start, *listed} - {*asked}),
        other=other,
    )


def _short(value: object) -> str:
    """A parameter with no more digits than are read."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _open_compiled(
    request: Request,
    options: CompileOptions,
    value: str,
    loaded: Loaded,
    inputs: Inputs,
    preprocess: Preprocess | None,
    warn: Warn,
) -> OpenModel:
    """Open a model that is compiled already: it can be told what it leaves open, and no more.

    Raises TargetError for an option that is decided.
    """
    compiled = Compiled(loaded.model, [])
    explainer = Explainer(compiled if isinstance(loaded.source, ir.Model) else loaded.source)
    _check_method(request.model, explainer.metadata)
    names = names_in_model(loaded.model) if options.labels is None else {}
    kind, other = explainer.metadata["target"], None
    _check_decided(request.model, options, kind)
    if kind in KINDS and not value:
        raise TargetError(
            f"'{request.model}' is compiled for target {kind}. Say which: --target {kind}="
            f"{'CLASS' if kind == 'input' else 'FILE'}."
        )
    if kind == "similarity":
        other = _other_input(request, options, loaded, inputs, value, preprocess)
    conditions = read_conditions(options.conditions)
    warn(explainer.notice)
    return OpenModel(
        request=request,
        compiled=compiled,
        explainer=explainer,
        labels=known_names(options.labels, names, compiled.graph, warn),
        parameters="",
        conserving=False,
        chosen={name: channels for name, channels in conditions.items() if channels is not None},
        target=read_target(explainer, value),
        listed=[],
        hidden=frozenset(),
        other=other,
    )


def _check_decided(model: Path, options: CompileOptions, kind: str) -> None:
    """Raise TargetError for an option that compiling has decided."""
    default = CompileOptions()
    free = {"labels", "conditions", *(["target"] if kind in KINDS else [])}
    for field in fields(CompileOptions):
        if field.name not in free and getattr(options, field.name) != getattr(default, field.name):
            flag = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
            raise TargetError(
                f"'{model}' is compiled already, and {flag} was decided then. Leave it out, or "
                "give the model that it was compiled from."
            )


def _other_input(
    request: Request,
    options: CompileOptions,
    loaded: Loaded,
    inputs: Inputs,
    file: str,
    preprocess: Preprocess | None,
) -> Inputs:
    """The input whose embedding is compared; an .npz file holds all inputs of a model."""
    if len(options.output or ()) > 1:
        raise TargetError(
            "target similarity: several outputs are explained, and explain compares one embedding. "
            "Name one with --output."
        )
    several = Path(file).suffix.lower() == ".npz"
    files = [f"{name}={file}" for name in inputs.files] if several else [file]
    return read_inputs(loaded.model, files, preprocess, request.reader)


def _check_method(model: Path, stamp: Mapping[str, str]) -> None:
    """Raise ModelError for a method that there is not, or without what it is set by."""
    method = METHODS.get(stamp["method"])
    if method is None or not {*method.settings} <= {*stamp}:
        raise ModelError(
            f"'{model}' is compiled for method {plain(stamp['method'])!r:.99}, which is none or "
            "lacks a setting. Compile the original model again."
        )
