"""The mutated files of `readers`, guided by what the code does with them: by atheris.

python tests/fuzz.py --readers SECONDS --guided READER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lrp_onnx", "tomllib"]):
    from fuzzing.readers import READERS, judged

__all__ = ["guided"]


def guided(name: str, seconds: float, seed: int) -> None:
    """Run libFuzzer on one reader for so long, and end the process: with an error at the first file
    that is neither read nor refused as it should.
    """
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for k, seed_file in enumerate(reader.seeds()):
            (corpus / str(k)).write_bytes(seed_file)
        files = [Path(folder, f"mutated{ending}") for ending in reader.endings]

        def once(data: bytes) -> None:
            file = files[len(data) % len(files)]
            file.write_bytes(data)
            fault = judged(reader, file)
            if fault is not None:
                raise AssertionError(f"{name}: {fault}; {data[:80]!r}")

        options = [f"-max_total_time={seconds:.0f}", f"-seed={seed + 1}", "-rss_limit_mb=4096"]
        options += ["-timeout=30", "-max_len=20000", f"-artifact_prefix={folder}/", str(corpus)]
        atheris.Setup([sys.argv[0], *options], once)
        atheris.Fuzz()
