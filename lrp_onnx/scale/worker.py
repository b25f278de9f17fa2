"""A worker: one session, which explains shards and writes a part for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import RELEVANCE, each_output
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result
from lrp_onnx.scale.plan import Shard
from lrp_onnx.scale.samples import Reading, Sample, samples_of
from lrp_onnx.scale.stored import Form, Rows

__all__ = ["Job", "Worker", "part_of"]

LARGEST_GROUP = 32 * 2**20
"""Bytes of rows that are written together."""
Done = Result | str


@dataclass(frozen=True)
class Job:
    """What every worker is told."""

    folder: Path
    """Where parts are written."""
    model: Path
    """The compiled model."""
    schema: pa.Schema
    reading: Reading
    form: Form
    batch: int
    threads: int | None
    conditions: Mapping[str, Sequence[int]]
    labels: Mapping[int, str] | None = None


def part_of(folder: Path, number: int) -> Path:
    """The file of a shard's rows."""
    return folder / f"part-{number:08}.parquet"


class Worker:
    """Opens the compiled model once and explains shards."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.explainer = Explainer(job.model, threads=job.threads)

    def explain(self, shard: Shard) -> tuple[int, int]:
        """Explain a shard and write its part; returns how many rows that are, and how many failed.

        The part is there when all its rows are in it.
        """
        rows, count, failed = Rows(self.job.form), 0, 0
        part = part_of(self.job.folder, shard.number)
        with (
            atomic(part) as temporary,
            parquet.ParquetWriter(temporary, self.job.schema, compression="zstd") as writer,
        ):
            for sample, done in self._results(samples_of(shard, self.job.reading)):
                reason = self._add(rows, sample, done)
                count, failed = count + 1, failed + (reason is not None)
                if rows.bytes > LARGEST_GROUP:
                    writer.write_table(rows.table(self.job.schema))
            writer.write_table(rows.table(self.job.schema))
        return count, failed

    def _results(self, samples: Iterator[Sample]) -> Iterator[tuple[Sample, Done]]:
        """Each sample with its result or the reason why there is none, in order. Where a batch
        cannot be run its samples are, one by one.
        """
        waiting: deque[Sample] = deque()

        def readable() -> Iterator[dict[str, Array]]:
            for sample in samples:
                waiting.append(sample)
                if sample.error is None:
                    yield sample.feeds

        while True:
            try:
                for result in self.explainer.many(
                    readable(), self.job.batch, conditions=self.job.conditions
                ):
                    yield from _unreadable(waiting)
                    yield waiting.popleft(), result
                yield from _unreadable(waiting)
                return
            except InputError:
                alone = list(waiting)
                waiting.clear()
            for sample in alone:
                yield sample, self._alone(sample)

    def _alone(self, sample: Sample) -> Done:
        if sample.error is not None:
            return sample.error
        try:
            return self.explainer(sample.feeds, conditions=self.job.conditions)
        except InputError as error:
            return str(error)

    def _add(self, rows: Rows, sample: Sample, done: Done) -> str | None:
        """A row of it; returns why it failed, if it did."""
        about: dict[str, Any] = {"input": sample.file, "row": sample.row}
        reason = done if isinstance(done, str) else _not_finite(sample, done)
        if isinstance(done, str) or reason is not None:
            rows.add({**about, "error": reason}, {})
            return reason
        try:
            arrays = self._arrays(done)
        except InputError as error:
            rows.add({**about, "error": str(error)}, {})
            return str(error)
        rows.add({**about, **self._predicted(done)}, arrays)
        return None

    def _arrays(self, result: Result) -> dict[str, Array]:
        """The arrays of a row: outputs, and relevance pooled if it should be."""
        outputs = {name: numbers_of(y) for name, y in result.outputs.items()}
        arrays = {
            name: y[0] if y.ndim else y
            for name, y in outputs.items()
            if name in self.job.schema.names
        }
        classes = int(self.explainer.metadata["target"].startswith("top-"))
        for name, r in result.relevance.items():
            arrays[f"{name}{RELEVANCE}"] = self.job.form.of(r, classes)
        return arrays

    def _predicted(self, result: Result) -> dict[str, Any]:
        """Class and score of each explained output that has classes."""
        row: dict[str, Any] = {}
        for one in each_output(self.explainer.metadata):
            name = one["output"]
            if f"{name}.class" in self.job.schema.names:
                scores = np.asarray(result.outputs[name]).reshape(-1)
                best = int(np.argmax(scores))
                row[f"{name}.class"], row[f"{name}.score"] = best, float(scores[best])
                row[f"{name}.label"] = (self.job.labels or {}).get(best)
        return row


def _unreadable(waiting: deque[Sample]) -> Iterator[tuple[Sample, str]]:
    """Those that came before the next that could be read."""
    while waiting and waiting[0].error is not None:
        sample = waiting.popleft()
        yield sample, str(sample.error)


def _not_finite(sample: Sample, result: Result) -> str | None:
    """Why a result is none, where numbers in it are not finite."""
    for name, r in result.relevance.items():
        if np.isfinite(r).all():
            continue
        for own, x in sample.feeds.items():
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                return f"input {own!r} holds NaN or infinity. Replace such values by numbers."
        return f"the input is finite, and the relevance of {name!r} is not."
    return None
