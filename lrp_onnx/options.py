"""The options of a compilation and of a picture, declared once.

`lrp_onnx.compile` takes the fields of `CompileOptions` as its arguments, and the command line makes
its parameters of them; the text of each field is the documentation of both. `PictureOptions` are
those of whatever draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from numbers import Integral
from typing import Any, get_type_hints

from lrp_onnx.arguments import check_argument
from lrp_onnx.errors import CompositeError, OutputError, TargetError
from lrp_onnx.runtimes import RUNTIMES

__all__ = ["CompileOptions", "PictureOptions"]

FOLDS = ("auto", "always", "never")
PRECISIONS = ("float32", "float16")
PANELS = ("all", "heatmap", "overlay")
MOST_BUDGET = 1e6
MOST_STEPS = 10_000
MOST_SAMPLES = 1_000


def option(
    default: Any, text: str, shown: str = "NAME", flag: str = "", repeatable: bool = False
) -> Any:
    """A field with its documentation.

    shown: the value as the help of the command line writes it. flag: the option's name there,
    where it is not the field's. repeatable: whether it may be given several times there.
    """
    about = {"text": text, "shown": shown, "flag": flag, "repeatable": repeatable}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


def check_fields(options: Any) -> None:
    """Raise OptionError where a field is not of its type."""
    kinds = _kinds_of(options.__class__)
    for one in fields(options):
        check_argument(one.name, getattr(options, one.name), kinds[one.name], str(one.type))


@cache
def _kinds_of(options: type) -> dict[str, Any]:
    return get_type_hints(options)


@dataclass(frozen=True)
class CompileOptions:
    """What to explain, how, and for which runtime. None leaves the choice to lrp-onnx."""

    composite: str | None = option(
        None,
        "Which rule each layer gets: a composite by name or file; auto chooses by what the network "
        "is made of [auto].",
        shown="auto|NAME|FILE.toml",
    )
    method: str = option("lrp", "How relevance is computed: {methods}.")
    parameters: Mapping[str, float | tuple[float, ...] | list[float] | str] = option(
        {},
        "A parameter of the rules: a number, one per channel, or an expression of z, the layer's "
        "output.",
        shown="[RULE.]NAME=VALUE[,VALUE…]",
        flag="--set",
        repeatable=True,
    )
    rules: Mapping[str, str] = option(
        {},
        "A rule for nodes by name (* matches) or operator type, before the composite's own.",
        shown="PATTERN=RULE",
        flag="--rule",
        repeatable=True,
    )
    output: str | Sequence[str] | None = option(
        None,
        "The output to explain [the only float output]. Of several each has relevance of its own, "
        "named OUTPUT_INPUT_relevance.",
        repeatable=True,
    )
    explain: str | Sequence[str] | None = option(
        None,
        "An input to explain [every one of floats or categories, else of token ids].",
        repeatable=True,
    )
    target: str | int | Sequence[int | slice | str] = option(
        "argmax",
        "What is explained. argmax: the class with the largest score; of a detector or a map the "
        "one largest score. CLASS: its number, or its name where names are known. A-B: why A and "
        "not B. top-K: the K largest classes, one by one. I,J,…: one entry, by its indices behind "
        "the batch; : sums over an axis. all: the sum of all entries. max: the largest entry. "
        "input, seed: whoever runs the model gives a class, or an array that the output is "
        "multiplied by; explain takes input=CLASS and seed=FILE. similarity: how alike the "
        "embeddings of two inputs are; explain takes the FILE of the other.",
        shown="argmax|CLASS|A-B|top-K|I,J,…|all|max|input|seed|similarity|FILE",
    )
    labels: object = option(
        None,
        "Names of the classes: a file with one a line, or .csv, .json or .yaml. The target may "
        "then be a name.",
        shown="FILE",
    )
    class_axis: int | None = option(
        None,
        "The axis of the output that counts the classes [1; for rank 3 the last; 0 without a "
        "batch].",
        shown="N",
    )
    start: str | None = option(
        None,
        "What relevance sums to. logit: the explained logit. contrast: that logit less the mean of "
        "all. one: 1. auto: contrast behind a softmax, else logit [auto].",
        shown="auto|logit|contrast|one",
    )
    reference: object = option(
        None,
        "For a regression: explain how far the prediction lies above this value, or above the "
        "prediction for this input.",
        shown="VALUE|[NAME=]FILE",
        repeatable=True,
    )
    relevance_at: str | Sequence[str] = option(
        (),
        "Also give the relevance of this inner tensor, as TENSOR_relevance.",
        shown="TENSOR",
        repeatable=True,
    )
    activation_at: str | Sequence[str] = option(
        (),
        "Also give the values of this inner tensor, as TENSOR_activation.",
        shown="TENSOR",
        repeatable=True,
    )
    conditions: str | Sequence[str] = option(
        (),
        "An inner tensor whose channels are chosen at each run: relevance there is multiplied by a "
        "new input, TENSOR_condition. explain takes TENSOR=CHANNEL[,CHANNEL…].",
        shown="TENSOR",
        flag="--condition",
        repeatable=True,
    )
    steps: int | None = option(
        None,
        "How many points integrated-gradients takes between baseline and input [32].",
        shown="N",
    )
    baseline: object = option(
        None,
        "The input that integrated-gradients compare with [zero].",
        shown="[NAME=]zero|mean|FILE",
        repeatable=True,
    )
    samples: int | None = option(
        None, "How many noisy copies of the input smooth-grad averages [25].", shown="N"
    )
    noise: float | None = option(
        None,
        "The standard deviation of the noise that smooth-grad adds, as a part of the input's range "
        "[0.15].",
        shown="PART",
    )
    layer: str | None = option(
        None,
        "The layer whose activations grad-cam weighs, by its tensor or node [the last "
        "convolution].",
        shown="TENSOR|NODE",
    )
    runtime: str = option("portable", f"The runtime to compile for: {', '.join(RUNTIMES)}.")
    fold: str = option(
        "auto",
        "When to compute what depends on the weights alone. always: now. never: at every run. "
        "auto: now, for the portable runtime, while the file stays within 3 times the model or "
        "200 MB.",
        shown="|".join(FOLDS),
    )
    precision: str = option(
        "float32",
        "What the explanation's products with weights are computed in. float16 is for GPUs and "
        "browsers: half the bytes, and about three digits; verify says what it changes. The "
        "prediction stays as it is.",
        shown="|".join(PRECISIONS),
    )
    shape: Mapping[str, Sequence[int]] = option(
        {},
        "Fix the sizes of an input: the compiled model is simpler, and takes no others.",
        shown="INPUT=1,3,224,224",
        repeatable=True,
    )
    opset: int | None = option(
        None,
        "The opset of the compiled model, 13 to 21 [the model's own from 18 on, else 18].",
        shown="N",
    )
    optimize: bool = option(
        True,
        "Simplify the graph, which changes no relevance. Without it every rule is written out as "
        "its file says.",
    )
    check: bool = option(
        True, "Compare the prediction of the compiled model with the original's on random input."
    )

    budget: float | None = option(
        None,
        "How much time and memory a step of compiling may take: 1 is 20 s and 4 GB, more for large "
        "models [1].",
        shown="N",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.budget is not None and not 0 < self.budget <= MOST_BUDGET:
            raise TargetError(
                f"budget {self.budget:g} is out of range. Give a number above 0 such as 10, at "
                f"most {MOST_BUDGET:g}."
            )
        if isinstance(self.target, Integral):  # also one of NumPy
            object.__setattr__(self, "target", int(self.target))
        for name in ("output", "explain", "relevance_at", "activation_at", "conditions"):
            value = getattr(self, name)
            if isinstance(value, str):  # one name alone is a name, not its letters
                object.__setattr__(self, name, (value,))
        if self.runtime not in RUNTIMES:
            raise CompositeError(
                f"runtime {self.runtime!r} is unknown. Choose one of {', '.join(RUNTIMES)}."
            )
        if self.fold not in FOLDS:
            raise CompositeError(
                f"fold {self.fold!r} is unknown. Choose one of {', '.join(FOLDS)}."
            )
        if self.precision not in PRECISIONS:
            raise CompositeError(
                f"precision {self.precision!r} is unknown. Choose one of {', '.join(PRECISIONS)}."
            )
        if self.steps is not None and self.steps < 1:
            raise TargetError(
                f"steps {self.steps}: at least one is needed. Give a number such as 32."
            )
        if self.steps is not None and self.steps > MOST_STEPS:
            raise TargetError(f"steps {self.steps}: at most {MOST_STEPS} are taken. Give fewer.")
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise TargetError(
                f"samples {self.samples}: from 1 to {MOST_SAMPLES} are taken. Give a number such "
                "as 25."
            )
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise TargetError(
                f"noise {self.noise}: a standard deviation is a number from 0 on. Give a part of "
                "the input's range such as 0.15."
            )


@dataclass(frozen=True)
class PictureOptions:
    """How relevance is drawn; the numbers themselves stay as they are."""

    panel: str = option(
        "all",
        "What is drawn: input, heatmap and overlay side by side, or one of the latter two alone.",
        shown="|".join(PANELS),
    )
    smooth: str | int = option(
        "auto",
        "Average what is drawn over N pixels. auto: where strides leave a lattice in the map, over "
        "its period, and says so.",
        shown="auto|off|N",
    )
    cmap: str = option(
        "relevance",
        "The colors: red speaks for the explained output, blue against it. Or a color map of "
        "matplotlib, such as coolwarm.",
    )
    limits: float | None = option(
        None,
        "The relevance that gets the darkest color. Give the same for pictures that are to be "
        "compared [the 99.5th percentile of each].",
        shown="VALUE",
    )
    opacity: float = option(
        1.0, "How much of the input the overlay covers, from 0 to 1.", shown="PART"
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.panel not in PANELS:
            raise OutputError(
                f"panel {self.panel!r} is unknown. Choose one of {', '.join(PANELS)}."
            )
        if self.smooth not in ("auto", "off") and not str(self.smooth).isdecimal():
            raise OutputError(
                f"smooth {self.smooth!r}: neither auto nor off nor a number of pixels. Give one "
                "such as 16."
            )
        if self.limits is not None and not 0 < self.limits < math.inf:
            raise OutputError(
                f"limits {self.limits}: the darkest color stands for a relevance above 0. Give "
                "such a number."
            )
        if not 0 <= self.opacity <= 1:
            raise OutputError(f"opacity {self.opacity} is out of range. Give a number from 0 to 1.")
