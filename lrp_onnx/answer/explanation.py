"""The answer of `lrp_onnx.explain`: arrays and words, saved and shown as people want them."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

from lrp_onnx.answer.destination import Destination
from lrp_onnx.answer.each_output import by_output, output_paths
from lrp_onnx.answer.explain_one import write_result
from lrp_onnx.answer.inputs import Inputs
from lrp_onnx.answer.open_model import OpenModel
from lrp_onnx.answer.results import class_by_class
from lrp_onnx.answer.samples import Sample, samples_of
from lrp_onnx.arguments import checked
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.errors import InputError, OutputError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.atomic_files import atomic_group
from lrp_onnx.graph.temporary import temporary_folder
from lrp_onnx.options import PictureOptions
from lrp_onnx.run.result import Result
from lrp_onnx.run.tables import frame_of

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """Why a model said what it said of an input, or of each input of a batch."""

    model: OpenModel = field(repr=False)
    inputs: Inputs = field(repr=False)
    result: Result = field(repr=False)
    warnings: tuple[str, ...] = ()
    """What should be known before the answer is trusted."""

    @property
    def relevance(self) -> dict[str, Array]:
        """By the name of the input that it belongs to, shaped like it."""
        return {n: r for n, r in self.result.relevance.items() if n not in self.model.hidden}

    @property
    def outputs(self) -> dict[str, Array]:
        """The model's own outputs, and the numbers of the classes where K were explained."""
        return self.result.outputs

    @property
    def compiled(self) -> Compiled:
        """The model that computed it, which can be saved and deployed."""
        return self.model.compiled

    @property
    def predictions(self) -> list[str]:
        """What the model says of each sample, in words; of K classes once for each."""
        return [sample.title for sample in self._samples()]

    @checked
    def save(self, path: str | os.PathLike[str], **options: Any) -> list[Path]:
        """Write a picture (.png, .jpg, .svg, .pdf), a page (.html) or arrays (.npz); several
        explained outputs are a file each. Returns the files.

        options: of a picture, such as panel="overlay", smooth="off", cmap, limits, opacity.
        Raises OutputError where the file cannot be written.
        """
        if Destination(str(path), None).is_folder:  # which names an ending that is not written
            raise OutputError(f"output '{path}': that is a folder. Name a file, such as why.png.")
        paths = output_paths(Path(path), self.model.outputs)
        with atomic_group(*paths) as temporary:
            self._write(list(temporary), PictureOptions(**options))
        return paths

    @checked
    def to_pandas(self, name: str | None = None) -> Any:
        """A table with the place, value and relevance of every element of an input.

        name: of the input [the first]. Raises InputError without pandas, or for an unknown name.
        """
        name = name if name is not None else next(iter(self.relevance))
        if name not in self.relevance:
            known = ", ".join(map(repr, self.relevance))
            raise InputError(f"input {name!r} has no relevance. Those that have: {known}.")
        relevance, values = self.relevance[name], self.inputs.feeds.get(name)
        if text := self.inputs.texts.get(name):
            words, sums = [part.text for part in text.parts], text.sums(relevance, text.parts)
            return frame_of(sums, None, ("sample", "position"), words)
        columns = () if self.inputs.table is None else self.inputs.table.columns.get(name, ())
        if columns and relevance[0].size == len(columns):
            of_columns = relevance.reshape(len(relevance), -1)
            told = None if values is None else values.reshape(of_columns.shape)
            return frame_of(of_columns, told, ("row", "place"), columns, "column")
        return frame_of(relevance, values)

    def __repr__(self) -> str:
        told = self.predictions
        more = f" and {len(told) - 1} more" if len(told) > 1 else ""
        return f"<Explanation {told[0]}{more}; relevance of {', '.join(self.relevance)}>"

    def _repr_html_(self) -> str:
        """The picture, as a notebook shows it; a table of the arrays where there is none."""
        notes = "".join(f"<p>{escape(text)}</p>" for text in self.warnings)
        try:
            return "".join(map(_image, self._pictures())) + notes
        except InputError:  # several inputs are explained: no picture shows them
            return self.result._repr_html_() + notes

    def _pictures(self) -> list[bytes]:
        with temporary_folder() as folder:
            paths = output_paths(folder / "why.png", self.model.outputs)
            self._write(paths, PictureOptions())
            return [path.read_bytes() for path in paths]

    def _write(self, paths: list[Path], options: PictureOptions) -> None:
        request = replace(self.model.request, picture=options)
        # what is made complete is taken out of the outputs on the way
        result = Result(dict(self.result.outputs), dict(self.result.relevance))
        write_result(replace(self.model, request=request), self.inputs, result, paths)

    def _samples(self) -> list[Sample]:
        model, samples = self.model, list[Sample]()
        for explainer, own in by_output(model.explainer, self.result):
            by_class, _ = class_by_class(explainer, own, self.inputs)
            samples += samples_of(
                explainer, by_class, model.labels, model.conserving, model.through
            )
        return samples


def _image(png: bytes) -> str:
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return f'<img alt="relevance" style="max-width: 100%" src="{source}">'
