"""Files that a user gives beside the model, mutated: each is read, or refused as refusals are.

Changed without a guide; `guided` does the same by atheris, which follows what the code does.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fuzzing.judge import wrong_form
from fuzzing.mutate import change_bytes
from PIL import Image

import lrp_onnx
from lrp_onnx.data.inputs import load_input
from lrp_onnx.data.labels import load_labels
from lrp_onnx.data.preprocess import PRESETS, load_preprocess
from lrp_onnx.data.sound import read_sound
from lrp_onnx.data.table import read_table
from lrp_onnx.data.text import Tokenizer
from lrp_onnx.errors import LrpError
from lrp_onnx.graph.arrays import Wanted
from lrp_onnx.graph.expression import parse
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.lrp.rule_file import load_rule

__all__ = ["READERS", "fuzz_readers"]

RULES = Path(lrp_onnx.__file__).parents[1] / "rules"
PICTURE, WAVE = (1, 3, 8, 8), Wanted("x", np.dtype(np.float32), (1, 400))
ROWS = [Wanted("x", np.dtype(np.float32), ("N", 3))]
IDS = [Wanted("ids", np.dtype(np.int64), (1, 6))]
WORDS = ("max", "(", ")", "x", "w", "z", "1e999", "9" * 400, "if", "else", "**", "[", "]", "{", "}")
WORDS += ("nan", "inf", "-", '"', "'", "=", "\n", ",", ";", "\t", "\0", "\ud7ff", "0x" + "f" * 5000)


@dataclass(frozen=True)
class Reader:
    """What reads one kind of file."""

    endings: tuple[str, ...]
    read: Callable[[Path], object]
    seeds: Callable[[], Iterator[bytes]]
    is_text: bool = True


def _expressions() -> Iterator[bytes]:
    yield from (
        b"0.25*rms(z)",
        b"x * vjp / (y + 1e-9)",
        b"pos(R) * (x > 0)",
        b"-(-(z)) if x else 1",
    )


def _files(folder: str) -> Iterator[bytes]:
    for file in sorted((RULES / folder).glob("*.toml")):
        yield file.read_bytes()


def _labels() -> Iterator[bytes]:
    yield from (b"cat\ndog\n\nfish", b"id,name\n0,cat\n1,dog\n", b"0;cat\n1;dog\n", b"cat\tn01\n")
    yield json.dumps({"id2label": {"0": "cat", "1": "dog"}}).encode()
    yield json.dumps([{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]).encode()
    yield json.dumps({"cat": 0, "dog": 1}).encode()
    yield b"names:\n  0: cat\n  1: dog\nnc: 2\n"


def _arrays() -> Iterator[bytes]:
    for array in (
        np.zeros(PICTURE, np.float32), np.arange(3), np.array("text"),
        np.array([1.5, None], object),
        np.zeros((0, 3)), np.zeros(2, [("a", "<f4"), ("b", "<i8")]), np.asfortranarray(np.eye(3)),
    ):  # fmt: skip
        for save in (np.save, np.savez, np.savez_compressed):
            buffer = io.BytesIO()
            save(buffer, array, allow_pickle=True)
            yield buffer.getvalue()


def _pictures() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (9, 7, 4), np.uint8)
    images = [
        Image.fromarray(pixels),
        Image.fromarray(pixels[..., 0]),
        Image.fromarray(pixels[..., :3]),
    ]
    images += [images[2].quantize(16), images[2].convert("CMYK"), images[1].convert("1")]
    images.append(Image.fromarray(rng.integers(0, 2**16, (9, 7), np.uint16)))
    for image in images:
        for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
            buffer = io.BytesIO()
            try:
                image.save(buffer, kind)
            except (OSError, ValueError):  # of a mode that this kind of file has not
                continue
            yield buffer.getvalue()


def _sounds() -> Iterator[bytes]:
    import soundfile

    wave = np.sin(np.arange(400) / 9).astype(np.float32)
    for kind in ("WAV", "FLAC", "OGG"):
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 16000, format=kind)
        yield buffer.getvalue()


def _tables() -> Iterator[bytes]:
    yield from (b"a,b,c\n1,2,3\n4,5,6\n", b"1;2;3\n4;5;6\n", b"a\tb\tc\n1\t2\t3\n", b"a,b,c\n")


def _parquets() -> Iterator[bytes]:
    import pyarrow
    from pyarrow import parquet

    for columns in ({"a": [1.0, 2.0], "b": [3, 4], "c": [None, 5]}, {"a": ["x"], "b": [[1]]}):
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), buffer)
        yield buffer.getvalue()


def _vocabularies() -> Iterator[bytes]:
    yield b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\ncat\n##s\n"
    import tokenizers

    words = {"[UNK]": 0, "a": 1, "cat": 2}
    model = tokenizers.models.WordPiece(words, unk_token="[UNK]")
    own = tokenizers.Tokenizer(model)
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    yield own.to_str().encode()


READERS = {
    "expression": Reader(
        (".txt",), lambda f: parse(f.read_text("utf-8", "replace"), set("xyzwbR")), _expressions
    ),
    "rule": Reader((".toml",), lambda f: load_rule(str(f)), lambda: _files(".")),
    "composite": Reader((".toml",), lambda f: load_composite(str(f)), lambda: _files("composites")),
    "preprocess": Reader(
        (".toml",), load_preprocess,
        lambda: iter([b"scale = 1.0\nmean = [104, 117, 123]\nstd = 1.0\nsize = [320, 480]\n",
                      b'fit = "center-crop"\ncrop = 0.875\norder = "BGR"\nfill = 114\n']),
    ),
    "labels": Reader((".txt", ".csv", ".json", ".yaml", ".tsv"), load_labels, _labels),
    "array": Reader(
        (".npy", ".npz"), lambda f: load_input(f, PICTURE, np.dtype(np.float32), name="x"),
        _arrays, is_text=False,
    ),
    "picture": Reader(
        (".png",), lambda f: load_input(f, PICTURE, np.dtype(np.float32), PRESETS["unit"]),
        _pictures, is_text=False,
    ),
    "sound": Reader(
        (".wav", ".flac", ".ogg"), lambda f: read_sound(f, WAVE, 16000), _sounds, is_text=False
    ),
    "table": Reader((".csv", ".tsv"), lambda f: read_table(f, ROWS), _tables),
    "parquet": Reader((".parquet",), lambda f: read_table(f, ROWS), _parquets, is_text=False),
    "tokenizer": Reader(
        (".json", ".txt"), lambda f: Tokenizer(f)("a cat sat", IDS), _vocabularies
    ),
}  # fmt: skip


def judged(reader: Reader, file: Path) -> str | None:
    """What is wrong with how a file is read, if anything."""
    try:
        reader.read(file)
    except LrpError as e:
        return f"form: {e}" if wrong_form(str(e)) else None
    except MemoryError:
        return "memory"
    except Exception as e:
        frames = e.__traceback__
        while frames is not None and frames.tb_next is not None:
            frames = frames.tb_next
        where = "" if frames is None else f"{frames.tb_frame.f_code.co_filename}:{frames.tb_lineno}"
        return f"{type(e).__name__}: {str(e)[:200]} at {where}"
    return None


def changed(rng: random.Random, data: bytes, is_text: bool) -> bytes:
    """Some bytes of a file are others, or words that have a meaning stand between them."""
    own = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        if is_text and rng.random() < 0.5:
            at = rng.randrange(len(own) + 1)
            word = rng.choice(WORDS) * rng.choice((1, 1, 1, 2, 60, 3000))
            own[at : at + rng.choice((0, 0, 1, 5))] = word[:20_000].encode()
        elif own:
            change_bytes(rng, own)
    return bytes(own)


def fuzz_readers(seconds: float, seed: int) -> int:
    """Read mutated files in turn for so long and print what came of it; 1 if something is wrong."""
    began, rng = time.monotonic(), random.Random(seed)
    seeds = {name: list(reader.seeds()) for name, reader in READERS.items()}
    counts, wrong, longest = Counter[str](), Counter[str](), ("", 0.0)
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < began + seconds:
            for name, reader in READERS.items():
                file = Path(folder, f"mutated{rng.choice(reader.endings)}")
                file.write_bytes(changed(rng, rng.choice(seeds[name]), reader.is_text))
                at = time.monotonic()
                fault = judged(reader, file)
                longest = max(longest, (name, time.monotonic() - at), key=lambda pair: pair[1])
                counts[name] += 1
                if fault is not None:
                    wrong[f"{name}: {fault}"] += 1
                    if wrong[f"{name}: {fault}"] == 1:
                        print(f"{name}: {fault}; {file.read_bytes()[:80]!r}", flush=True)
    print(
        f"{counts.total()} mutated files, seed {seed}: {wrong.total()} of them neither read nor "
        f"refused as they should; the longest took {longest[1]:.1f} s ({longest[0]}) "
        f"({time.monotonic() - began:.0f} s)"
    )
    return int(bool(wrong))
