"""Ray Data runs the workers: here, or on a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from lrp_onnx.errors import LrpError, OutputError
from lrp_onnx.scale.plan import SCHEMA, Shard
from lrp_onnx.scale.worker import Job, Worker

__all__ = ["Crew", "explain_shards"]

MOST_BLOCKS = 10_000
DONE = pa.schema(
    {"number": pa.int64(), "rows": pa.int64(), "failed": pa.int64(), "error": pa.string()}
)
"""What became of a shard."""
OBJECT_STORE = 200 * 2**20
"""Bytes that Ray sets aside on this machine: shards are described there, results are not."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_raylet_start_wait_time_s": "300",
}
"""Nothing is reported to Ray's makers, errors come as exceptions alone, and on a busy machine Ray's
own processes may take long to start.
"""


@dataclass(frozen=True)
class Crew:
    """How many workers there are, and what each gets."""

    workers: int
    threads: int
    gpus: float = 0
    address: str | None = None


class _Actor:
    """A worker as Ray Data calls it: a table of shards in, what became of them out."""

    def __init__(self, job: Job) -> None:
        self.worker = Worker(job)

    def __call__(self, shards: pa.Table) -> pa.Table:
        done = [self._explained(shard) for shard in _shards(shards)]
        return pa.Table.from_pylist(done, DONE)

    def _explained(self, shard: Shard) -> dict[str, Any]:
        try:
            rows, failed = self.worker.explain(shard)
        except LrpError as error:  # what it raises arrives as an error of Ray's with its trace
            return {"number": shard.number, "error": str(error)}
        return {"number": shard.number, "rows": rows, "failed": failed}


def _shards(table: pa.Table) -> Iterator[Shard]:
    for row in table.to_pylist():
        yield Shard(**{**row, "files": tuple(row["files"])})


def explain_shards(job: Job, shards: Sequence[Shard], crew: Crew) -> Iterator[dict[str, Any]]:
    """Explain the shards and yield `number`, `rows` and `failed` of each as it is done.

    Raises OutputError where a part cannot be written, and what Ray makes of other errors.
    """
    _start(crew)
    import ray

    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        dataset = ray.data.from_arrow(_blocks(shards)).map_batches(
            _Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=crew.workers, max_tasks_in_flight_per_actor=2),
            num_cpus=crew.threads,
            num_gpus=crew.gpus,
        )
        yield from checked_rows(dataset.iter_rows())
    finally:
        ray.shutdown()


def checked_rows(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What became of shards. Raises OutputError where one could not be written."""
    for row in rows:
        if row["error"] is not None:
            raise OutputError(row["error"])
        yield row


def _start(crew: Crew) -> None:
    """Raises LrpError where Ray does not start or is not there."""
    for name, value in SETTINGS.items():  # before Ray is imported, which reads them
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    here: dict[str, Any] = {
        "num_cpus": crew.workers * crew.threads + 1,  # one for Ray itself
        "object_store_memory": OBJECT_STORE,
        "include_dashboard": False,
    }
    there = {"address": crew.address}
    try:
        ray.init(
            **(here if crew.address is None else there),
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except Exception as error:  # Ray raises no class of its own here
        where = "on this machine" if crew.address is None else f"at '{crew.address}'"
        raise LrpError(
            f"Ray does not start {where}: {error}. Its logs are in /tmp/ray/session_latest/logs."
        ) from error


def _blocks(shards: Sequence[Shard]) -> list[pa.Table]:
    size = -(-len(shards) // MOST_BLOCKS)
    return [
        pa.Table.from_pylist([asdict(shard) for shard in shards[k : k + size]], SCHEMA)
        for k in range(0, len(shards), size)
    ]
