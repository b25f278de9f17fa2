"""The samples of a shard, one by one: what the model is fed, or why it cannot be.

A file or row that cannot be read costs that sample alone; of a file that breaks in the middle it
costs the rest.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from lrp_onnx.data.inputs import DAMAGED_ARRAY, check_claims, damaged_array, fit_array, load_input
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.data.text import Tokenizer
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.scale.plan import ARRAYS, PICTURES, TEXTS, Shard
from lrp_onnx.scale.table import rows_of

__all__ = ["Reading", "Sample", "samples_of"]

READERS = 2
AHEAD = 32
"""Pictures that are read while others are explained."""
Feeds = dict[str, Array]


@dataclass(frozen=True)
class Reading:
    """How inputs are read for a model."""

    wanted: tuple[Wanted, ...]
    preprocess: Preprocess | None = None
    columns: tuple[str, ...] = ()
    """The columns of a table that are the features; all with numbers if none is named."""
    tokenizer: Path | None = None
    """What makes tokens of a line of text."""


@dataclass(frozen=True)
class Sample:
    """One input: what the model is fed, or why it cannot be."""

    file: str
    row: int | None
    """Its number in a file of several."""
    feeds: Feeds
    error: str | None = None


def samples_of(shard: Shard, reading: Reading) -> Iterator[Sample]:
    """As many samples as the shard has, in order."""
    if shard.kind == PICTURES:
        yield from _pictures(shard, reading)
        return
    file, number = shard.of or shard.files[0], shard.start
    read = {ARRAYS: _arrays, TEXTS: _lines}.get(shard.kind, _rows)
    reason = "it holds fewer rows than when the run began"
    try:
        for feeds in read(shard, reading):
            yield _sample(file, number, feeds)
            number += 1
    except MemoryError:
        reason = f"'{file}' needs more memory than there is. Give it in smaller files."
    except InputError as error:
        reason = str(error)
    except DAMAGED_ARRAY as error:
        reason = damaged_array(file, error) if shard.kind == ARRAYS else _damaged(file, error)
    for rest in range(number, shard.stop):
        yield Sample(file, rest, {}, reason)


def _damaged(file: str, error: Exception) -> str:
    """What is said of a table or a text that cannot be read."""
    fact = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(". ")
    return f"'{file}' cannot be read: {fact}. Write it anew."


def _sample(file: str, row: int | None, feeds: Feeds | str) -> Sample:
    if isinstance(feeds, str):
        return Sample(file, row, {}, feeds)
    return Sample(file, row, feeds)


def _pictures(shard: Shard, reading: Reading) -> Iterator[Sample]:
    """Read a little ahead, since decoding a picture leaves the interpreter free."""
    (want,) = reading.wanted

    def read(file: str) -> Sample:
        try:
            x = load_input(file, want.shape, want.dtype, reading.preprocess, name=want.name)
        except InputError as error:
            return _sample(file, None, str(error))
        return _sample(file, None, {want.name: x})

    with ThreadPoolExecutor(READERS) as pool:
        waiting = deque(pool.submit(read, file) for file in shard.files[:AHEAD])
        for file in (*shard.files[AHEAD:], *[None] * len(waiting)):
            sample = waiting.popleft().result()
            if file is not None:
                waiting.append(pool.submit(read, file))
            yield sample


def _arrays(shard: Shard, reading: Reading) -> Iterator[Feeds | str]:
    """The samples of an .npy or .npz file, along axis 0 of each array."""
    (file,) = shard.files
    arrays = _opened(file, [want.name for want in reading.wanted])
    for k in range(shard.start, shard.stop):
        feeds: Feeds = {}
        reason = None
        for want in reading.wanted:
            place = f"{file}, row {k}"
            try:
                x = arrays[want.name][k : k + 1]
                feeds[want.name] = fit_array(x, want.shape, want.dtype, name=want.name, place=place)
            except InputError as error:
                reason = str(error)
        yield reason or feeds


def _opened(file: str, names: Sequence[str]) -> dict[str, Any]:
    check_claims(Path(file))
    loaded = np.load(file, allow_pickle=False, mmap_mode="r" if file.endswith(".npy") else None)
    if isinstance(loaded, np.ndarray):
        held = {"": loaded}
    else:
        with contextlib.closing(loaded):
            wanted = loaded.files if len(names) == 1 else names
            held = {key: loaded[key] for key in loaded.files if key in wanted}
            held = {key: array for key, array in held.items() if isinstance(array, np.ndarray)}
    if alone := [name for name, array in held.items() if not array.ndim]:
        which = f"array {alone[0]!r}" if alone[0] else "its array"
        raise InputError(f"'{file}': {which} has no axis of samples. Write array[None] instead.")
    if len(names) == 1 and len(held) == 1:
        return {names[0]: next(iter(held.values()))}
    missing = [name for name in names if name not in held]
    if missing:
        listing = ", ".join(map(repr, held)) or "nothing"
        raise InputError(
            f"'{file}': no array {missing[0]!r} for the model's input; it holds {listing}. Write "
            "an array for each input with numpy.savez."
        )
    return held


def _lines(shard: Shard, reading: Reading) -> Iterator[Feeds | str]:
    """The lines of a file, each a text of its own."""
    assert reading.tokenizer is not None  # the run is planned only with one
    tokenizer = Tokenizer(reading.tokenizer)
    with open(shard.files[0], encoding="utf-8") as lines:
        for line in islice(lines, shard.start, shard.stop):
            try:
                yield dict(tokenizer(line.strip(), reading.wanted).feeds)
            except InputError as error:
                yield str(error)


def _rows(shard: Shard, reading: Reading) -> Iterator[Feeds | str]:
    """The rows of a Parquet file."""
    try:
        yield from rows_of(shard, reading.wanted, reading.preprocess, reading.columns)
    except pa.ArrowException as error:
        file, reason = shard.of or shard.files[0], Exception(str(error))
        try:
            if shard.files[0].lower().endswith(".csv"):  # it did not become Parquet
                reason = Exception("it is no table of text in UTF-8")
                csv.read_csv(file)
        except (pa.ArrowException, OSError) as own:
            reason = own
        raise InputError(_damaged(file, reason)) from error
