"""The command `batch`: any number of inputs, explained by workers and written as Parquet."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrp_onnx.answer.class_names import checked_names
from lrp_onnx.answer.explained import explained_rows
from lrp_onnx.answer.inputs import with_baselines
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.progress import BatchProgress, StageProgress, duration
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.named_target import names_in_model
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.preprocess import Preprocess, bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.data.text import Tokenizer, find_tokenizer, no_tokenizer, text_inputs
from lrp_onnx.errors import CheckError, InputError, LrpError, OutputError, TargetError
from lrp_onnx.graph.model_file import sha256_of
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.condition_mask import read_conditions
from lrp_onnx.version import version

if TYPE_CHECKING:
    from lrp_onnx.scale.engine import Crew
    from lrp_onnx.scale.plan import Shard
    from lrp_onnx.scale.worker import Job

__all__ = ["BatchRequest", "explain_batch"]

MANIFEST, PLAN, MODEL, PARTS, COPIES = (
    "manifest.json",
    "plan.parquet",
    "model.lrp.onnx",
    "parts",
    "rows",
)
"""What a run's folder holds."""
VALUES_OF_TARGET = ("input", "seed", "similarity")
Warn = Callable[[str | None], None]


@dataclass(frozen=True)
class BatchRequest:
    """The arguments that only `batch` has."""

    model: Path
    inputs: tuple[str, ...]
    out: Path
    preprocess: str | None
    tokenizer: str | None
    batch: int
    workers: int | None
    threads: int
    gpus: float
    address: str | None
    relevance: str
    pool: str | None
    outputs: str
    columns: str | None
    shard: int
    resume: bool

    def crew(self) -> Crew:
        """The workers: as many as there are cores for, if the user does not say."""
        from lrp_onnx.scale.engine import Crew

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = self.workers or max(1, (cores or 1) // self.threads)
        return Crew(workers, self.threads, self.gpus, self.address)

    def asked(self, options: CompileOptions, preprocess: Preprocess | None) -> dict[str, Any]:
        """What decides the rows, as the manifest keeps it."""
        defaults = CompileOptions()
        names = (field.name for field in dataclasses.fields(options))
        chosen = {n: v for n in names if (v := getattr(options, n)) != getattr(defaults, n)}
        return {
            "model_sha256": sha256_of(self.model),
            "inputs": list(self.inputs),
            "options": {name: str(value) for name, value in chosen.items()},
            "preprocess": None if preprocess is None else str(preprocess),
            "columns": self.columns,
            "tokenizer": self.tokenizer,
            "relevance": self.relevance,
            "pool": self.pool,
            "outputs": self.outputs,
            "shard": self.shard,
        }


def explain_batch(
    request: BatchRequest, options: Options, warn: Warn
) -> tuple[list[tuple[str, str]], int]:
    """Explain all inputs, or those that an earlier run did not; returns what to show and how many
    failed.

    Raises LrpError as every step on the way does, and CheckError where rows are lost.
    """
    _check_extra()
    from lrp_onnx.scale.manifest import check_same, read_manifest

    preprocess = None if request.preprocess is None else load_preprocess(request.preprocess)
    asked = request.asked(options.compile, preprocess)
    manifest = read_manifest(request.out / MANIFEST)
    if manifest is not None and not request.resume:
        raise OutputError(
            f"output '{request.out}': it holds an earlier run. Continue that with --resume, or "
            "name another folder."
        )
    with StageProgress(options) as progress:
        run = _Run(request, options, preprocess, progress, warn)
        if manifest is None:
            manifest = run.begin(asked)
        else:
            check_same(request.out / MANIFEST, manifest["asked"], asked)
        return run.explain(manifest)


def _check_extra() -> None:
    try:
        import pyarrow  # noqa: F401  # whether it is there
        import ray  # noqa: F401
    except ImportError as error:
        raise LrpError(
            f"batch needs Ray and PyArrow, and {error.name} is not installed. Run: pip install "
            "'lrp-onnx[scale]'"
        ) from error


@dataclass
class _Run:
    """One run of the command."""

    request: BatchRequest
    options: Options
    preprocess: Preprocess | None
    progress: StageProgress
    warn: Warn

    def __post_init__(self) -> None:
        self.loaded = load_original(self.request.model, self.progress)
        self.original = {str(value.name) for value in self.loaded.model.graph.outputs}
        self.wanted = wanted_by(self.loaded.model)
        self.names = names_in_model(self.loaded.model, self.options.compile.output)
        for want in self.wanted:
            size = want.shape[0] if want.shape else None
            if isinstance(size, int) and size != 1:
                raise InputError(
                    f"input {want.name!r} takes {size} samples at once and no other number. Export "
                    "the model with an open batch, or with 1."
                )
        if self.preprocess is None and len(self.wanted) == 1:
            model = self.loaded.model
            self.preprocess = implied_preprocess(model.graph.inputs[0], model.metadata_props)
        self.out = self.request.out.absolute()

    def begin(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Plan and compile; what was done is in the folder, its manifest last."""
        from lrp_onnx.scale.manifest import write_manifest
        from lrp_onnx.scale.plan import shards_of, write_plan

        try:
            (self.out / PARTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"output '{self.out}': {error.strerror}. Name another folder."
            ) from error
        self.progress.begin("plan", 1)
        kinds: set[str] = set()
        every = shards_of(self.request.inputs, self.request.shard, self.out / COPIES)
        count, rows = write_plan(self._checked(every, kinds), self.out / PLAN)
        compiled = self._compile("pictures" in kinds)
        compiled.save(self.out / MODEL)
        manifest = {
            "version": version(),
            "model": str(self.request.model),
            "asked": asked,
            "compiled_sha256": sha256_of(self.out / MODEL),
            "explanation": dict(compiled.graph.metadata_props),
            "rows": rows,
            "shards": count,
            "runs": [],
        }
        write_manifest(self.out / MANIFEST, manifest)
        return manifest

    def _checked(self, shards: Iterator[Shard], kinds: set[str]) -> Iterator[Shard]:
        for shard in shards:
            if shard.kind == "pictures" and len(self.wanted) != 1:
                names = ", ".join(repr(want.name) for want in self.wanted)
                raise InputError(
                    f"'{shard.files[0]}': a picture is one input, and the model has "
                    f"{len(self.wanted)}: {names}. Give .npz or Parquet files with one of each."
                )
            if shard.kind == "texts" and not kinds & {"texts"}:
                self._check_texts(shard.files[0])
            kinds.add(shard.kind)
            yield shard

    @property
    def tokenizer(self) -> Path | None:
        """The tokenizer that is named, or lies beside the model."""
        named = self.request.tokenizer
        return find_tokenizer(self.request.model) if named is None else Path(named).absolute()

    def _check_texts(self, file: str) -> None:
        """Whether the model takes texts, and there is a tokenizer that can be read."""
        if len(text_inputs(self.wanted)) < len(self.wanted):
            names = ", ".join(repr(want.name) for want in self.wanted)
            raise InputError(
                f"'{file}': a text becomes token ids, and the model takes {names}. Give pictures, "
                "arrays or rows, as it takes them."
            )
        if self.tokenizer is None:
            raise InputError(no_tokenizer(self.request.model))
        Tokenizer(self.tokenizer)

    def _compile(self, pictures: bool) -> Compiled:
        options = self.options.compile
        if str(options.target).partition("=")[0] in VALUES_OF_TARGET:
            raise TargetError(
                f"target {options.target!r}: its value differs from input to input, and batch has "
                "no way to give it. Choose argmax, a class or top-K."
            )
        known = pictures and self.preprocess is not None
        ranges = {self.wanted[0].name: bounds(self.preprocess)} if known else {}  # type: ignore[arg-type]  # known
        options = with_baselines(options, self.loaded.model, self.preprocess)
        conditions = tuple(read_conditions(options.conditions))
        options = dataclasses.replace(options, conditions=conditions)
        compiled = compile_prepared(prepare(self.loaded, options, ranges))
        for text in compiled.warnings:
            self.warn(text)
        return compiled

    def _job(self, compiled: Compiled) -> Job:
        from lrp_onnx.scale.columns import schema_of
        from lrp_onnx.scale.samples import Reading
        from lrp_onnx.scale.stored import Form
        from lrp_onnx.scale.worker import Job

        request, options = self.request, self.options.compile
        labels = checked_names(options.labels, self.names, compiled.graph, self.warn)
        chosen = read_conditions(options.conditions)
        form = Form(request.relevance, _cells(request.pool))
        columns = tuple((request.columns or "").split(",")) if request.columns else ()
        return Job(
            folder=self.out / PARTS,
            model=self.out / MODEL,
            schema=schema_of(
                compiled.graph, self.original, form, request.outputs, labels is not None
            ),
            reading=Reading(self.wanted, self.preprocess, columns, self.tokenizer),
            form=form,
            batch=request.batch,
            threads=request.threads,
            conditions={name: c for name, c in chosen.items() if c is not None},
            labels=labels,
        )

    def explain(self, manifest: dict[str, Any]) -> tuple[list[tuple[str, str]], int]:
        """Explain the shards that have no part yet."""
        from lrp_onnx.graph.model_file import load
        from lrp_onnx.scale.engine import explain_shards
        from lrp_onnx.scale.manifest import write_manifest
        from lrp_onnx.scale.parts import count_rows, missing_shards, remove_torn

        model = self.out / MODEL
        if sha256_of(model) != manifest["compiled_sha256"]:
            raise InputError(
                f"'{model}' is not the file that this run began with. Name another folder."
            )
        compiled = Compiled(load(model), [])
        job, crew = self._job(compiled), self.request.crew()
        remove_torn(job.folder)
        open_shards, earlier = missing_shards(self.out / PLAN, job.folder)
        watch = BatchProgress(self.progress, manifest["rows"], earlier)
        began = time.time()
        for done in explain_shards(job, open_shards, crew) if open_shards else ():
            watch.add(done["rows"], done["failed"])
        rows, failed = count_rows(job.folder)
        manifest["runs"].append(
            {
                "began": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began)),
                "seconds": round(time.time() - began, 3),
                "rows": watch.rows,
                "workers": crew.workers,
                "threads": crew.threads,
            }
        )
        write_manifest(self.out / MANIFEST, {**manifest, "written": rows, "failed": failed})
        if rows != manifest["rows"]:
            raise CheckError(
                f"'{job.folder}' holds {rows} rows, and {manifest['rows']} inputs were planned. "
                "Remove the parts that another run left there, and run again with --resume."
            )
        shown = [
            ("model", str(self.request.model)),
            *explained_rows(compiled),
            ("inputs", f"{rows:,}{f', {earlier:,} of them by earlier runs' * bool(earlier)}"),
            *([("failed", f"{failed:,}: their column 'error' says why")] if failed else []),
            ("took", f"{duration(time.time() - began)}, {watch.told_speed}{crew.workers} workers"),
            ("wrote", f"{job.folder} ({manifest['shards']:,} files)"),
        ]
        return shown, failed


def _cells(pool: str | None) -> tuple[int, ...]:
    parts = [] if pool is None else pool.lower().split("x")
    if not all(part.isdigit() and int(part) for part in parts):
        raise InputError(f"--pool {pool}: not a number of cells. Give one such as 14, or 14x14.")
    return tuple(map(int, parts))
