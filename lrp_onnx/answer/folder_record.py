"""Which files of a folder are explained: a run that was ended goes on where it was.

The record lies beside the answers. Its first line tells what they depend on beside their inputs;
each other line is one file's, written when its answer is there, with what is said of it. A line
that was cut off or is none of ours, an input that has changed since and an answer that is gone
count as not explained.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from lrp_onnx.answer.open_model import Request
from lrp_onnx.answer.samples import Sample, Written
from lrp_onnx.errors import OutputError
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.graph.model_file import sha256_of
from lrp_onnx.graph.source_file import ordinary
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.version import version

__all__ = ["FolderRecord", "answers_depend_on"]

NAME = ".lrp-onnx.jsonl"


def answers_depend_on(request: Request, options: CompileOptions, model: ir.Model) -> str:
    """A hash of all that decides answers beside their inputs: model, options and their files."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    weights = {str(t.path) for t in tensors if isinstance(t, ir.ExternalTensor)}
    parts = [
        version(),
        sha256_of(request.model),
        sorted(f"{file} {_state(Path(file))}" for file in weights),
        _named(asdict(options)),
        _named([request.preprocess, request.tokenizer, request.row, request.rate]),
        asdict(request.picture),
        str(request.out.kind),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _named(value: Any) -> Any:
    """The same, with the hash of each file that is named beside its name."""
    if isinstance(value, dict):
        return {key: _named(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_named(own) for own in value]
    if isinstance(value, str) and os.path.isfile(value):
        return value, sha256_of(value)
    return value


def _state(file: Path) -> list[int]:
    """What changes when the file does."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


class FolderRecord:
    """The record of one folder of answers. depends: as `answers_depend_on` says; what was made
    otherwise is forgotten.
    """

    def __init__(self, folder: Path, depends: str) -> None:
        self.path, self.depends = folder / NAME, depends
        self.lines: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            try:
                text = ordinary(self.path).read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise self._unwritable(error) from error
            head, *lines = map(_line, text.splitlines() or [""])
            if head.get("depends") == depends:
                self.lines = {str(line.get("file")): line for line in lines if line}
        self.is_new = not self.lines

    def told(
        self, file: Path, answers: Sequence[Path], explainers: Sequence[Explainer]
    ) -> list[Written] | None:
        """What was said of a file; None where it is not explained."""
        line = self.lines.get(file.name)
        if line is None or line.get("state") != _state(file):
            return None
        if not all(answer.is_file() for answer in answers):
            return None
        try:
            return _written(line["parts"], explainers)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def add(self, file: Path, parts: Sequence[Written]) -> None:
        """Note that a file's answers are written. Raises OutputError where that fails."""
        told = [
            {
                "about": part.about,
                # a box is in the picture already
                "samples": [asdict(replace(sample, detection=None)) for sample in part.samples],
                "drawn": part.drawn,
                "thumbnail": base64.b64encode(part.thumbnail).decode("ascii"),
                "rows": list(part.rows),
            }
            for part in parts
        ]
        line = json.dumps({"file": file.name, "state": _state(file), "parts": told})
        if self.is_new:
            with atomic(self.path) as temporary:
                text = f"{json.dumps({'depends': self.depends})}\n{line}\n"
                temporary.write_text(text, encoding="utf-8")
            self.is_new = False
            return
        try:
            with self.path.open("a", encoding="utf-8") as record:
                record.write(f"\n{line}\n")  # a line that was cut off ends here
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"output '{self.path}': {error.strerror}. Choose a folder in which you may write."
        )


def _written(parts: Sequence[Any], explainers: Sequence[Explainer]) -> list[Written]:
    """What was said of one file. Raises what a line that is none of ours leads to."""
    return [
        Written(
            explainer,
            part["about"],
            [Sample(**sample) for sample in part["samples"]],
            part["drawn"],
            base64.b64decode(part["thumbnail"]),
            part["rows"],
        )
        for explainer, part in zip(explainers, parts, strict=True)
    ]


def _line(text: str) -> dict[str, Any]:
    """What a line holds; nothing where it was cut off."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
