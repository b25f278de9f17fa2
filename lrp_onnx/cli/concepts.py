"""The command `concepts`: what the channels of a layer stand for, in inputs that show it.

Relevance maximization (Achtibat et al. 2023, From attribution maps to human-understandable
explanations, sec. 5.2): of a channel not the inputs that excite it most, but those in which it has
the most relevance for what the model says, each with the heatmap of that channel alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrp_onnx.answer.destination import check_writable
from lrp_onnx.answer.inputs import Inputs, read_inputs
from lrp_onnx.answer.open_model import OpenModel, Request, Warn, open_model
from lrp_onnx.answer.output_files import drawing_of
from lrp_onnx.answer.results import class_count, maps_as_arrays
from lrp_onnx.answer.sample_files import SampleFiles, sample_files
from lrp_onnx.answer.samples import samples_of
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.cli.prototypes import Prototype, find_prototypes
from lrp_onnx.compiler.stages import load_original
from lrp_onnx.data.labels import class_name
from lrp_onnx.errors import InputError, TargetError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.propagation.condition import channel_axis
from lrp_onnx.run.result import Result

if TYPE_CHECKING:
    from lrp_onnx.visual.drawing import Drawing
    from lrp_onnx.visual.panel import Panel

__all__ = ["Concept", "Concepts", "find_concepts"]

Read = Callable[[Path], Inputs]


@dataclass(frozen=True)
class Concept:
    """A channel and the inputs in which it has the most relevance, the largest first."""

    channel: int
    share: float
    """Its part of the absolute relevance at the tensor, over all inputs."""
    inputs: Sequence[tuple[Path, float]]
    """With its relevance there, in the unit of the explained output."""


@dataclass(frozen=True)
class Concepts:
    """What was found at a tensor, and the picture of it."""

    tensor: str
    concepts: list[Concept]
    prototypes: list[Prototype]
    count: int
    """Of inputs."""
    of_class: str
    """Of prototypes the class, and how many inputs are predicted as it; else nothing."""
    failed: list[str]
    out: Path

    def rows(self) -> list[tuple[str, str]]:
        """To show: a line for each channel."""
        rows = [("tensor", self.tensor), ("inputs", str(self.count))]
        rows += [("class", self.of_class)] if self.of_class else []
        for one in self.concepts:
            shown = ", ".join(f"{file.name} {value:+.3g}" for file, value in one.inputs)
            rows.append((f"channel {one.channel}", f"{one.share:.1%} of the relevance: {shown}"))
        for number, prototype in enumerate(self.prototypes, 1):
            nearest = ", ".join(file.name for file, _ in prototype.inputs)
            rows.append((f"prototype {number}", f"{prototype.described}; nearest {nearest}"))
        return [*rows, ("wrote", str(self.out))]

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        concepts = [
            {
                "channel": one.channel,
                "share": one.share,
                "inputs": [{"file": str(file), "relevance": value} for file, value in one.inputs],
            }
            for one in self.concepts
        ]
        prototypes = [
            {
                "share": one.share,
                "channels": [{"channel": c, "share": part} for c, part in one.channels],
                "inputs": [{"file": str(file), "distance": d} for file, d in one.inputs],
            }
            for one in self.prototypes
        ]
        about = {"class": self.of_class} if self.of_class else {}
        return {"tensor": self.tensor, "inputs": self.count, **about, "concepts": concepts,
                "prototypes": prototypes, "failed": self.failed,
                "wrote": str(self.out)}  # fmt: skip


def find_concepts(
    request: Request,
    options: Options,
    tensor: str,
    channels: int,
    examples: int,
    out: Path,
    warn: Warn,
    quiet: bool = False,
    prototypes: int = 0,
) -> Concepts:
    """Explain every input, rank the channels of the tensor, draw the inputs of the first.

    channels: how many are drawn. examples: how many inputs of each. out: a picture. prototypes:
    into how many groups the inputs are put.
    Raises LrpError as every step on the way does.
    """
    from lrp_onnx.visual.page import kind_of

    kind_of(out)
    check_writable(out, request.model)
    preprocess = request.load_preprocess()
    with StageProgress(options, quiet=quiet) as progress:
        loaded = load_original(request.model, progress)
        original = loaded.model.clone()
        sources = sample_files(loaded.model, request.inputs, warn)
        if sources is None or len(sources.files) < 2:
            raise InputError(
                "concepts show in what many inputs share, and one is given. Give a folder of them."
            )

        def read(file: Path) -> Inputs:
            named: SampleFiles = sources  # checked above
            return read_inputs(original, [named.named(file)], preprocess, request.reader)

        first, failed = _first(sources.files, read)
        compiling = replace(options.compile, conditions=(tensor,))
        model = open_model(request, compiling, loaded, first, preprocess, warn)
        _check(model, prototypes)
        progress.begin("explain", len(sources.files))
        files, sums, of_class = [], [], []
        for file in sources.files:
            try:
                result = model.run(read(file))
            except InputError as error:
                failed[file] = str(error)
            else:
                files.append(file)
                sums.append(_by_channel(result.relevance[tensor]))
                of_class.append(not prototypes or _predicts_target(model, result))
            progress.tick()
        if not files:
            raise InputError(f"no input can be explained. The first: {next(iter(failed.values()))}")
        by_channel = np.stack(sums)
        concepts = _ranked(by_channel, files, channels, examples)
        groups, told = [], ""
        if prototypes:
            told = f"{_class_of(model)}: {sum(of_class)} of {len(files)} inputs are predicted as it"
            own = [file for file, is_own in zip(files, of_class, strict=True) if is_own]
            groups = find_prototypes(
                by_channel[of_class], own, prototypes, examples, _class_of(model)
            )
        drawn = sum(len(one.inputs) for one in concepts) + sum(len(one.inputs) for one in groups)
        progress.begin("draw", drawn)
        _draw(model, tensor, concepts, groups, read, out, progress.tick)
    return Concepts(tensor, concepts, groups, len(files), told, list(failed.values()), out)


def _first(files: Sequence[Path], read: Read) -> tuple[Inputs, dict[Path, str]]:
    """The first input that can be read, for which the model is compiled."""
    reason = ""
    for file in files:
        try:
            return read(file), {}
        except InputError as error:
            reason = reason or str(error)
    raise InputError(f"no input can be read. The first: {reason}")


def _check(model: OpenModel, prototypes: int) -> None:
    if len(model.outputs) > 1:
        raise TargetError("concepts: several outputs are explained. Name one with --output.")
    if class_count(model.explainer) or model.other is not None:
        raise TargetError(
            "concepts: one class of each input is explained, and this target is another for each "
            "or several. Choose one --target."
        )
    if prototypes and not model.explainer.metadata["target"].isdigit():
        raise TargetError("prototypes are those of one class. Name it with --target.")


def _predicts_target(model: OpenModel, result: Result) -> bool:
    """Whether the input is of the class that is explained, as far as the model tells."""
    metadata = model.explainer.metadata
    y = np.asarray(maps_as_arrays(model.explainer, result).outputs[metadata["output"]])
    return y.ndim != 2 or bool((y.argmax(axis=1) == int(metadata["target"])).all())


def _class_of(model: OpenModel) -> str:
    """The class that is explained; empty where it is another one of each input, or none."""
    target = model.explainer.metadata["target"]
    return class_name(model.labels, int(target)) if target.isdigit() else ""


def _by_channel(relevance: Array) -> Array:
    """The sum of each channel, [C]."""
    axis = channel_axis(relevance.ndim)
    others = tuple(k for k in range(relevance.ndim) if k != axis)
    sums: Array = relevance.sum(axis=others, dtype=np.float64)
    return sums


def _ranked(sums: Array, files: Sequence[Path], channels: int, examples: int) -> list[Concept]:
    """The channels with the most relevance in all inputs, and those in which it speaks for what is
    explained. sums: [files, C].
    """
    sizes = np.abs(sums).sum(axis=0)
    total = float(sizes.sum()) or 1.0
    concepts = []
    for channel in np.argsort(-sizes, kind="stable")[:channels]:
        best = np.argsort(-sums[:, channel], kind="stable")[:examples]
        inputs = [(files[k], float(sums[k, channel])) for k in best if sums[k, channel] > 0]
        if inputs:
            concepts.append(Concept(int(channel), float(sizes[channel]) / total, inputs))
    return concepts


def _draw(
    model: OpenModel,
    tensor: str,
    concepts: Sequence[Concept],
    prototypes: Sequence[Prototype],
    read: Read,
    out: Path,
    tick: Callable[[], None],
) -> None:
    """Two rows for each channel, its inputs beside each other, below them the channel's heatmaps;
    two for each prototype, its nearest inputs and their heatmaps of all channels.
    """
    from lrp_onnx.visual.grid import save_grid

    rows: list[list[Panel | None]] = []
    titles, name = [], _class_of(model)
    told: list[tuple[str, int | None, Sequence[tuple[Path, float]]]] = [
        (f"Channel {one.channel}: {one.share:.1%} of the relevance", one.channel, one.inputs)
        for one in concepts
    ]
    told += [
        (f"Prototype {k} of {name}: {one.described}", None, one.inputs)
        for k, one in enumerate(prototypes, 1)
    ]
    for title, channel, inputs in told:
        panels = []
        for file, _ in inputs:
            panels.append(_panels(model, tensor, channel, file, read(file)))
            tick()
        rows += [[photo for photo, _ in panels], [heatmap for _, heatmap in panels]]
        titles += [title, ""]
    grouped = (
        f" A prototype is a group of the inputs predicted as {name} whose relevance goes through "
        "the same channels; its heatmaps are of all channels."
    )
    save_grid(
        out,
        rows,
        title=f"What the channels of {tensor} stand for{f' in {name}' * bool(name)}",
        subtitle="The inputs in which each channel has the most relevance, and where in them it "
        f"speaks for (red) or against (blue) {name or 'what the model says'}; each picture in its "
        f"own scale of colors.{grouped * bool(prototypes)}",
        row_titles=titles,
        inches=1.9,
        metadata={"model": model.request.model.name, "tensor": tensor},
    )


def _panels(
    model: OpenModel, tensor: str, channel: int | None, file: Path, inputs: Inputs
) -> tuple[Panel, Panel]:
    """The input, and the heatmap of that channel alone over it, or of all."""
    from lrp_onnx.visual.panel import Panel

    explainer = model.explainer
    conditions = {} if channel is None else {tensor: channel}
    result = explainer(inputs.feeds, model.target, conditions=conditions)
    drawing = _drawing(model, inputs, maps_as_arrays(explainer, result))
    panels = drawing.sample_panels(0)
    if len(panels) < 2:
        raise InputError(
            f"'{file}': concepts are drawn from pictures, and this is none. Give pictures."
        )
    title = f"{drawing.titles[0]}\n{file.name}"
    return Panel(panels[0].image, title), Panel(panels[-1].image, "", panels[-1].scale)


def _drawing(model: OpenModel, inputs: Inputs, result: Result) -> Drawing:
    samples = samples_of(model.explainer, result, model.labels, False)
    options = replace(model.request.picture, panel="all")
    return drawing_of(model.explainer, result, inputs, samples, options)
