"""Targets whose value the command line gives beside their name: `input=3,5` and `seed=FILE`.

The model is compiled with target `input` or `seed`, and run with that value.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from lrp_onnx.data.inputs import is_array_file, load_input
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer

__all__ = ["KINDS", "classes_of", "read_target", "target_and_value"]

KINDS = ("input", "seed", "similarity")


def target_and_value(options: CompileOptions) -> tuple[CompileOptions, str]:
    """The options with the target's name alone, and what was given behind it; nothing for other
    targets. A file alone is for `similarity`. Raises TargetError for a name without a value.
    """
    if isinstance(options.target, str) and os.path.isfile(options.target):
        return replace(options, target="similarity"), options.target
    kind, equals, value = str(options.target).partition("=")
    if kind not in KINDS:
        return options, ""
    if not equals or not value:
        raise TargetError(
            f"target {options.target!r}: here its value is given too. Write --target input=3 (a "
            "class; one for each sample with commas), --target seed=FILE.npy (the starting "
            "relevance is this array times the output) or --target similarity=FILE (another input, "
            "whose embedding is compared)."
        )
    return replace(options, target=kind), value


def classes_of(value: str) -> list[int]:
    """The classes of target `input`. Raises TargetError for anything else."""
    if not all(part.strip().isdigit() for part in value.split(",")):
        raise TargetError(f"target 'input={value}': not classes. Write numbers such as 3,5.")
    return [int(part) for part in value.split(",")]


def read_target(explainer: Explainer, value: str) -> Array | None:
    """What a model of such a target is run with. Raises TargetError or InputError where the value
    does not fit.
    """
    kind = explainer.metadata["target"]
    if not value or kind == "similarity":
        return None
    if kind == "input":
        classes = np.array(classes_of(value))
        return classes if classes.size > 1 else classes[0]
    if "outputs" in explainer.metadata:
        raise TargetError(
            f"target 'seed={value}': it is the starting relevance of one output, and several are "
            "explained. Name one with --output."
        )
    if not is_array_file(value):
        raise TargetError(f"target 'seed={value}': not an array. Give a .npy or .npz file.")
    name = f"{explainer.metadata['output']}_seed"
    want = next(w for w in explainer.inputs if w.name == name)
    return load_input(value, want.shape, want.dtype, None, name=name)
