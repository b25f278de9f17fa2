"""Does the compiled graph keep its promises?  Forward, finiteness, and an account of every node.

All of that may hold and the result mean little: where it is ill-conditioned or changes with the
last binary digits of its input, where the sum of relevance has the other sign than what is
explained, and where something looks like a softmax or a norm and was not recognized as one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lrp_onnx.compiler.accounts import NodeAccount
from lrp_onnx.compiler.check import check_graph, judged_on_random, weight_warnings
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.differences import (
    extra_feeds,
    forward_differences,
    own_differences,
    relative_difference,
    run_in_half,
)
from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.judge import judge
from lrp_onnx.compiler.stages import Loaded, compile_prepared, load_original, prepare
from lrp_onnx.compiler.unforeseen import told
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import (
    ACTIVATION,
    EXPLAINED,
    METHOD,
    PLAIN,
    PREFIX,
    RELEVANCE,
    each_output,
    stamp_of,
)
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.limits import budget_of
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.session import runtime_form
from lrp_onnx.graph.subgraphs import nodes_of
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.feeds import fitted
from lrp_onnx.run.other_digits import sensitivity
from lrp_onnx.validate.completeness import completeness_of
from lrp_onnx.validate.verdict import (
    Line,
    Part,
    Verdict,
    changed_by_half,
    unsteady_map,
)

__all__ = ["verify"]

CHANGED = 0.05
"""Part of max|R| by which the simplified graph may differ.  A layer differs by less than 1e-5, but
uniform epsilon multiplies roundings in deep networks: up to 2e-2 between float32 and float64.
"""
MOST_NODES = 50_000
"""Larger graphs, the accounts included, run under the model's budget: where thousands of nodes read
one tensor, ONNX Runtime opens them in a time that grows with the square.
"""
UNSTEADY = 1e-3
"""Part of its largest value that optimizing the original may change an output by."""


def verify(
    source: ModelSource | Loaded,
    options: CompileOptions,
    feeds: Mapping[str, Array] | None = None,
    ranges: Ranges | None = None,
    seed: int = 0,
) -> Verdict:
    """Compile the model with an account of every node, run it, and judge.

    feeds: input by name; without it random input is made up. ranges: of inputs, as `prepare` has
    them. Raises LrpError as `compile` does, and
    InputError where the input does not fit or none can be made up.
    """
    loaded = source if isinstance(source, Loaded) else load_original(source)
    with told(loaded.source):
        return _verdict(loaded, options, feeds, ranges or {}, seed)


def _verdict(
    loaded: Loaded,
    options: CompileOptions,
    feeds: Mapping[str, Array] | None,
    ranges: Ranges,
    seed: int,
) -> Verdict:
    exact = replace(options, check=False, precision="float32")  # accounts to the last digit
    prepared = prepare(loaded, exact, ranges)
    compiled = compile_prepared(prepared, accounts=True)
    check_graph(compiled.graph)
    inputs, expected = _forward(loaded.source, compiled, feeds, seed)
    differences = forward_differences(loaded.source, compiled.graph, inputs, expected)
    with runtime_form(compiled.graph) as form:
        arrays = {**extra_feeds(compiled.graph, inputs, expected), **inputs}
        large = sum(1 for _ in nodes_of(compiled.graph.graph)) > MOST_NODES
        budget = budget_of(loaded.model) if large else None
        runtime = judge(form, plain=False, budget=budget)
        outputs = runtime.run(arrays)
        sensitive = sensitivity(compiled.graph, runtime.run, arrays)
    # a model's own tensors may hold infinities, as masked scores do
    own = tuple(f"{name}{ACTIVATION}" for name in options.activation_at)
    results = {n: y for n, y in outputs.items() if not n.startswith(PREFIX) and n not in own}
    half, halved = None, tuple[str, ...]()
    if options.precision != exact.precision:
        half, halved = _halved(
            loaded.source, replace(options, check=False), ranges, arrays, outputs
        )
    parts = _parts(compiled, outputs)
    maps = {name: r for part in parts for name, r in part.maps.items()}
    as_rules = _maps(compiled.graph.metadata_props[EXPLAINED], outputs, PLAIN)
    simplified = {n: relative_difference(maps[n], r)[0] for n, r in as_rules.items()} or None
    problems = [
        *_forward_problems(differences),
        *(f"{name!r} is not finite" for name, y in results.items() if not _finite(y)),
        *(problem for part in parts for problem in part.problems()),
        *_changed(simplified),
    ]
    unsteady = _unsteady(own_differences(loaded.source, inputs, expected))
    warnings = (*compiled.warnings, *halved, *weight_warnings(compiled.graph), *unsteady)
    each = prepared.assignment.each
    method = compiled.graph.metadata_props[METHOD]
    reasons = (*(part.ill_conditioned() for part in parts), unsteady_map(sensitive, method))
    reasons = (*reasons, changed_by_half(half or {}))
    return Verdict(
        differences=differences,
        parts=parts,
        warnings=warnings,
        problems=tuple(problems),
        feeds=dict(inputs),
        method=method,
        simplified=simplified,
        half=half,
        sensitivity=sensitive,
        ill_conditioned=next(filter(None, reasons), ""),
        unrecognized=tuple(dict.fromkeys(name for one in each for name in one.unrecognized)),
    )


def _parts(compiled: Compiled, outputs: Mapping[str, Array]) -> tuple[Part, ...]:
    """What a run says of each explained output."""
    parts = []
    for one in each_output(stamp_of(compiled.graph.metadata_props)):
        name, front = one["output"], f"{one['output']}: " if one["prefix"] else ""
        accounts = [account for account in compiled.accounts if account.explains == name]
        lines = tuple(_line(account, outputs, front) for account in accounts)
        maps = _maps(one["explained"], outputs, named=one["prefix"])
        sums = _sums(maps)
        completeness = completeness_of(outputs, name, sums, int(one.get("steps", 0)))
        explained = lines[0].out if lines else sum(sums.values())
        explained = explained if completeness is None else completeness.explained
        parts.append(Part(name, explained, sums, lines, completeness, maps))
    return tuple(parts)


def _halved(
    source: ModelSource,
    options: CompileOptions,
    ranges: Ranges | None,
    arrays: Mapping[str, Array],
    outputs: Mapping[str, Array],
) -> tuple[dict[str, float], tuple[str, ...]]:
    """By what part of its largest value float16 changes each relevance, and what compiling told."""
    compiled = compile_prepared(prepare(load_original(source), options, ranges))
    halved = run_in_half(compiled.graph, arrays)
    names = [name for name in halved if name.endswith(RELEVANCE)]
    differences = {n: relative_difference(halved[n], outputs[n])[0] for n in names}
    return differences, compiled.warnings


def _forward(
    source: ModelSource, compiled: Compiled, feeds: Mapping[str, Array] | None, seed: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The input, checked or made up, and the original's outputs on it."""
    if feeds is None:
        judged = judged_on_random(source, compiled.graph, seed)
        if isinstance(judged, str):
            raise InputError(f"{judged}. Give an input: lrp-onnx verify MODEL NAME=FILE.npy.")
        return judged
    inputs = wanted_by(compiled.graph)
    fitted_feeds = fitted(inputs, feeds)
    with runtime_form(source) as form:
        return fitted_feeds, judge(form).run(fitted_feeds)


def _line(account: NodeAccount, outputs: Mapping[str, Array], front: str) -> Line:
    sums = account.sums(outputs)
    return Line(
        name=f"{front}{account.name}",
        op_type=account.op_type,
        rule=account.rule,
        received=sums.pop("in"),
        conserves=account.conserves,
        **sums,
    )


def _maps(
    explained: str, outputs: Mapping[str, Array], prefix: str = "", named: str = ""
) -> dict[str, Array]:
    """The relevance of each of these inputs; with PLAIN by the rules as they stand, where the graph
    is another. named: what stands in front of the inputs' names.
    """
    names = [f"{named}{name}" for name in json.loads(explained)]
    results = {n: f"{prefix}{n}{RELEVANCE}" for n in names}
    return {n: outputs[result] for n, result in results.items() if result in outputs}


def _sums(maps: Mapping[str, Array]) -> dict[str, float]:
    return {n: float(np.sum(r, dtype=np.float64)) for n, r in maps.items()}


def _changed(simplified: Mapping[str, float] | None) -> list[str]:
    return [
        f"relevance of {name!r}: the compiled graph differs from the rules as they stand by "
        f"{difference:.2g} of its largest value, {CHANGED:g} is allowed: compile with --no-optimize"
        for name, difference in (simplified or {}).items()
        if not difference <= CHANGED
    ]


def _finite(y: Any) -> bool:
    y = np.asarray(numbers_of(y))
    return y.dtype.kind in "OSU" or bool(np.isfinite(y.astype(np.float64)).all())


def _forward_problems(differences: Mapping[str, tuple[float, float]]) -> list[str]:
    return [
        f"output {name!r} differs from the original by {difference:.2g}, {allowed:.0e} is allowed"
        for name, (difference, allowed) in differences.items()
        if not difference <= allowed
    ]


def _unsteady(own: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each output that the runtime's settings decide in part."""
    for name, difference in own.items():
        if difference > UNSTEADY:
            yield (
                f"output {name!r}: the original model itself gives results that differ by "
                f"{difference:.2g} of its largest value, by whether ONNX Runtime optimizes it. "
                "Roundings decide as much of its relevance."
            )
