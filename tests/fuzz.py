"""Mutated models: none ends in a traceback, hangs, takes all memory or is wrong in silence.

    python tests/fuzz.py --cases 2000 --seed 0 [--workers 2] [--keep FOLDER]
    python tests/fuzz.py --readers SECONDS   # rules, arrays, pictures, labels, sound, tables

A case is a small model (the digits' network, onnx's operator cases, exports of PyTorch) with one to
three changes of its bytes, its protobuf structure or its meaning.  It runs in a process with 4 GiB
and 20 s of computing; exit status 1 if one case ends otherwise than compiled and right, or refused
in the form that every refusal has.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "support")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the models that fail")
    parser.add_argument(
        "--readers", type=float, metavar="SECONDS", help="rules, arrays, pictures, labels instead"
    )
    parser.add_argument("--guided", metavar="READER", help="one of them, by atheris")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.guided is not None:
        from fuzzing.guided import guided

        guided(options.guided, options.readers or 60.0, options.seed)
    from fuzzing.processes import run, serve

    if options.serve:
        serve(options.seed)
        return 0
    if options.readers is not None:
        from fuzzing.readers import fuzz_readers

        return fuzz_readers(options.readers, options.seed)
    if options.keep is not None:
        options.keep.mkdir(exist_ok=True)
    return run(
        Path(__file__), options.cases, options.seed, options.workers, options.first, options.keep
    )


if __name__ == "__main__":
    sys.exit(main())
