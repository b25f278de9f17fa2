"""Everything that is noted on models, graphs, nodes and values, and the names of what is added.

Three stores hold notes.  `metadata_props` of a node goes into the file: whose relevance it
computes, and what recognition found out about it.  `metadata_props` of a model goes into the file
too: what was compiled, and how.  `meta` lives in memory only; copies of a graph take it along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

__all__ = [
    "ACCOUNT",
    "ACCOUNT_COLUMNS",
    "ACTIVATION",
    "ADDED",
    "ASKED",
    "BACKWARD_OF",
    "BASELINE",
    "CELL",
    "CHANGED",
    "CHOSEN_BECAUSE",
    "CLASS_AXIS",
    "COMPLETENESS",
    "COMPOSITE",
    "CONDITION",
    "CONDITIONS",
    "CONTRAST",
    "CONTRASTED",
    "EXPLAINED",
    "FORWARD_KEPT",
    "GATE",
    "HEAD",
    "LAYER",
    "METHOD",
    "NAME",
    "NOISE",
    "OF",
    "OPTIMIZED",
    "OTHER",
    "OUTPUT",
    "OUTPUTS",
    "OWNER",
    "PADDING_OF",
    "PLACE",
    "PLAIN",
    "PRECISION",
    "PREFIX",
    "REFERENCE",
    "REFUSED",
    "RELEVANCE",
    "RESEMBLES",
    "RULE",
    "RUNS_ALWAYS",
    "RUNTIME",
    "SAMPLES",
    "SOURCE_SHA256",
    "START",
    "STARTS_AT",
    "STATES_OF",
    "STEPS",
    "TARGET",
    "TOPK_INDEX",
    "VERSION",
    "aliases",
    "asked_for",
    "branches_taken",
    "budgets",
    "corrections",
    "each_output",
    "has_batch",
    "local_copies",
    "provenance",
    "share_aliases",
    "spelled_anew",
    "stamp_of",
    "weight_copies",
]

PREFIX = "lrp."

# metadata_props of a node
OWNER = "lrp.source"
"""The forward node on whose behalf an emitted node was written."""
RULE = "lrp.rule"
"""The rule by which it was written."""
CONTRAST = "contrast"
"""The rule of what takes the mean of all classes off the logits."""
GATE = "lrp.gate"
"""On a Mul: the number of the input that is a gate; relevance goes to the other."""
CELL = "lrp.cell"
"""On a sum or linear layer of a recurrent cell: its kind while gates are held constant."""
PADDING_OF = "lrp.padding_of"
"""On a Pad that is a convolution's own padding: that node's name."""
REFUSED = "lrp.refused"
"""On a node that could not be decomposed: why."""
FORWARD_KEPT = "lrp.kept"
"""On a node that computes the forward beside its decomposition."""
RUNS_ALWAYS = "lrp.here"
"""On a graph that runs whenever the choice between branches is made."""

# metadata_props of a compiled model
VERSION = "lrp.version"
SOURCE_SHA256 = "lrp.source_sha256"
COMPOSITE = "lrp.composite"
CHOSEN_BECAUSE = "lrp.chosen_because"
"""Why composite `auto` took the one that is named; absent where the user names one."""
METHOD = "lrp.method"
TARGET = "lrp.target"
START = "lrp.start"
REFERENCE = "lrp.reference"
"""What the explained value is compared with, in words, where it is."""
STARTS_AT = "lrp.starts_at"
"""`output`, or `logits` behind a final softmax or sigmoid."""
RUNTIME = "lrp.runtime"
PRECISION = "lrp.precision"
"""What products with weights are computed in."""
OPTIMIZED = "lrp.optimized"
CONDITIONS = "lrp.conditions"
"""The conditioned tensors, as JSON."""
STEPS = "lrp.steps"
SAMPLES = "lrp.samples"
NOISE = "lrp.noise"
BASELINE = "lrp.baseline"
LAYER = "lrp.layer"
"""The tensor that grad-cam is formed at."""
OUTPUT = "lrp.output"
OUTPUTS = "lrp.outputs"
"""Where several outputs are explained, as JSON for each what the keys beside this one say of the
first, and the `prefix` of the names of its relevance. `explained` then has the names with it.
"""
CLASS_AXIS = "lrp.class_axis"
"""A number, or nothing where the output has no class axis."""
HEAD = "lrp.head"
"""Of an output that is no scores of classes alone, where the explained entry is sought, as JSON."""
EXPLAINED = "lrp.explained"
"""The explained inputs, as JSON."""

# meta of a node or value
ADDED = "lrp.added"
"""On an input that the compiler added."""
BACKWARD_OF = "lrp.backward_of"
"""On the Scan that walks a Scan back: that one."""
STATES_OF = "lrp.states_of"
"""On the Scan that stands for a recurrent operator: the operator, and the number of the
direction."""
CHANGED = "lrp.changed"
"""On a tensor of the canonical view that is another than the model's of that name: the node that
moves its elements into one of the model's tensors, or True.
"""
NAME = "lrp.name"
"""The name that a node or tensor in a body has in the model."""
PLACE = "lrp.place"
"""The same behind the names of the nodes around it."""
OF = "lrp.of"
"""On a node of the dialect: what it stands for."""
RESEMBLES = "lrp.resembles"
"""On a node that divides by what depends on the dividend, and with it is no softmax or norm that is
known."""

ASKED = "lrp.asked"
"""On a tensor whose relevance is asked for: no row of moves that becomes one goes past it."""
CONTRASTED = "lrp.contrasted"
"""On logits: themselves less their mean, by the graph and the axis of the classes."""

# names of what is added to a graph's signature
RELEVANCE = "_relevance"
"""Behind an explained tensor's name: the output that holds its relevance."""
OTHER = "_other"
"""Behind the explained output's name: the input that is the embedding it is compared with."""
TOPK_INDEX = "_topk_index"
"""Behind the explained output's name: the output that names the classes of `top-K`."""
ACTIVATION = "_activation"
"""Behind an inner tensor's name: the output that is that tensor."""
CONDITION = "_condition"
"""Behind a conditioned tensor's name: the input that multiplies its channels' relevance."""
ACCOUNT = "lrp.account_"
"""In front of a number: the output that holds one node's account."""
ACCOUNT_COLUMNS = ("out", "magnitude", "in", "bias", "stabilizer", "dropped", "inside")
"""What it holds: Σ R_out, Σ |R_out|, Σ R_in, what bias, stabilizer and rule took, and by how much
the accounts in its bodies are off, all signs added up."""
PLAIN = "lrp.plain."
"""In front of a name: the output that holds a relevance by the rules as they stand."""
COMPLETENESS = "lrp.completeness."
"""In front of an explained output's name: the output [m·y(x), m·y(x₀), Δ·G] of integrated gradients
that `verify` asks for."""


def provenance(owner: str, rule: str) -> dict[str, str]:
    """What an emitted node's metadata says of it."""
    return {OWNER: owner, RULE: rule}


def stamp_of(metadata: Mapping[str, str], prefix: str = PREFIX) -> dict[str, str]:
    """What a compiled model's metadata says, without the prefix."""
    return {k.removeprefix(prefix): v for k, v in metadata.items() if k.startswith(prefix)}


def each_output(stamp: Mapping[str, str]) -> list[dict[str, str]]:
    """What `stamp_of` says, once for each explained output; `prefix` is in front of the names of
    its relevance.
    """
    if "outputs" not in stamp:
        return [{**stamp, "prefix": ""}]
    shared = {key: value for key, value in stamp.items() if key != "outputs"}
    return [{**shared, **own} for own in json.loads(stamp["outputs"])]


def has_batch(stamp: Mapping[str, str]) -> bool:
    """Whether the explained output counts its samples along axis 0, as far as is known."""
    head = stamp.get("head")
    return stamp.get("class_axis") != "0" and (not head or bool(json.loads(head)["batch"]))


def aliases(model: ir.Model) -> dict[str | None, str | None]:
    """For each tensor that was taken out of the graph the one that has its relevance."""
    return _dictionary(model, "lrp.aliases")


def share_aliases(model: ir.Model, part: ir.Model) -> None:
    """Let a part of a model, such as a body, note its aliases with those of the whole."""
    part.meta["lrp.aliases"] = aliases(model)


def corrections(model: ir.Model) -> dict[str | None, str]:
    """For each output whose declared shape was wrong a sentence that says so."""
    return _dictionary(model, "lrp.corrected")


def branches_taken(model: ir.Model) -> dict[str | None, str]:
    """For each If whose branch took its place the attribute of that branch, by the name of its
    first output.
    """
    return _dictionary(model, "lrp.taken")


def spelled_anew(model: ir.Model) -> set[str | None]:
    """The tensors that the prediction computes as the canonical view does."""
    names: set[str | None] = model.meta.setdefault("lrp.spelled_anew", set())
    return names


def asked_for(model: ir.Model) -> set[str]:
    """The names of inner tensors whose relevance the user wants."""
    names: set[str] = model.meta.setdefault("lrp.asked_for", set())
    return names


def local_copies(model: ir.Model) -> dict[str | None, int]:
    """How many bodies got a copy of a constant of their own, by its name."""
    return _dictionary(model, "lrp.local")


def budgets(model: ir.Model) -> dict[str, Any]:
    """The model's budget of time and memory, under the key `budget`."""
    return _dictionary(model, "lrp.budget")


def weight_copies(graph: ir.Graph) -> dict[Any, ir.Value]:
    """The changed copies of weights that several nodes read, by their content."""
    return _dictionary(graph, "lrp.copies")


def _dictionary(holder: ir.Model | ir.Graph, key: str) -> dict[Any, Any]:
    entries: dict[Any, Any] = holder.meta.setdefault(key, {})
    return entries
