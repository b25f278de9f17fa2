"""The methods of explanation: one record each.

In their formulas g = ∂f/∂x, where f is the explained value (m·y, behind a final softmax or sigmoid
at the logits, as in LRP).

An integer input, such as token ids, has no gradient of its own: the value is formed at the float
tensor that it becomes (its embedding), then summed over it.  So a token's saliency is the L1 norm
of its embedding's gradient, and its input × gradient the product of both.

A new method is a record here and the function that forms it: `of_gradient` where the gradient at
the input is enough, else a module of `lrp_onnx/gradients`, called in
`lrp_onnx.compiler.explanation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.errors import CompositeError, TargetError
from lrp_onnx.graph.builder import Emit
from lrp_onnx.options import CompileOptions

__all__ = ["METHODS", "OWN_OPTIONS", "Method", "attribution", "method_of"]

OWN_OPTIONS = ("steps", "baseline", "layer", "samples", "noise")
"""Options that only some methods take."""
RISES = "Red: the explained output rises with this value, blue: it falls."
Attribution = Callable[[Emit, ir.Value, ir.Value], ir.Value]
"""Forms the relevance of a float tensor x from x and its gradient, both of one shape."""


@dataclass(frozen=True)
class Method:
    """How relevance is computed, and which options that leaves open."""

    name: str
    formula: str
    reference: str
    composite: str = "gradient"
    """The composite that gives the rules where the user chooses none."""
    start: str = "one"
    """Where relevance starts unless the user chooses."""
    rules: bool = False
    """Whether the user may choose composite, rules, parameters and start. Its relevance is that of
    LRP, which conservation holds for."""
    integrates: bool = False
    """Whether it follows the input from a baseline in steps. Then there is no relevance in between,
    and one class at a time."""
    signed: bool = False
    """Whether it is the gradient as it is, whose parts of either sign cancel where a token's
    embedding is summed over."""
    layer: bool = False
    """Whether it is formed at one inner layer, so that no other tensor has it."""
    options: tuple[str, ...] = ()
    """Which of OWN_OPTIONS it takes."""
    steps: int = 0
    """How many steps it takes unless the user says."""
    samples: int = 0
    """How many samples of the input with noise it takes unless the user says; then there is no
    relevance in between, and one class at a time."""
    noise: float = 0.0
    """Their noise unless the user says."""
    meaning: str = "Red speaks for the explained output, blue against it."
    """What the colors of a map say."""
    ends: tuple[str, str] = ("against", "for")
    """The same in a word, of the least and of the largest number."""
    of_gradient: Attribution | None = None
    settings: tuple[str, ...] = ()
    """What of the compiled model's metadata says how it was set."""

    @property
    def noun(self) -> str:
        """What it computes, in words."""
        return "relevance" if self.rules else self.name.replace("-", " ")

    @property
    def many_points(self) -> bool:
        """Whether it is made of the gradients at several points, each of which takes as long as
        one.
        """
        return self.integrates or self.samples > 0

    def describe(self, metadata: Mapping[str, str]) -> str:
        """By what a compiled model with such metadata explains: the composite of LRP, or the
        method, a path's with its steps.
        """
        if self.integrates:
            return f"{self.name} ({metadata['steps']} steps from {metadata['baseline']})"
        if self.samples:
            return f"{self.name} ({metadata['samples']} samples, noise {metadata['noise']})"
        if self.layer:
            return f"{self.name} at {metadata['layer']}"
        return metadata["composite"] if self.rules else self.name

    def check(self, options: CompileOptions) -> None:
        """Raise TargetError or CompositeError for an option that the method cannot take."""
        self._refuse_options_of_others(options)
        if not self.rules:
            self._refuse_rules(options)
        if self.many_points or self.layer:
            self._refuse_inner_tensors(options)

    def _refuse_options_of_others(self, options: CompileOptions) -> None:
        for option in OWN_OPTIONS:
            if getattr(options, option) is not None and option not in self.options:
                others = ", ".join(m.name for m in METHODS.values() if option in m.options)
                raise TargetError(
                    f"{option}: method {self.name!r} takes none. Choose {others}, or leave it out."
                )

    def _refuse_rules(self, options: CompileOptions) -> None:
        if options.composite is not None or options.rules or options.parameters:
            name = "rules" if options.rules else "parameters"
            option = f"composite {options.composite!r}" if options.composite else name
            raise CompositeError(
                f"{option}: method {self.name!r} takes the plain gradient at every node. Leave it "
                "out, or choose method lrp."
            )
        if options.reference is not None:
            raise TargetError(
                f"reference: method {self.name!r} takes the derivative of the explained value, "
                "which no reference changes. Choose method lrp, or integrated-gradients from a "
                "--baseline."
            )
        if options.start not in (None, self.start):
            raise TargetError(
                f"start {options.start!r}: method {self.name!r} takes the derivative of the "
                f"explained value: it can only start at {self.start}. Leave it out, or choose "
                "method lrp."
            )

    def _refuse_inner_tensors(self, options: CompileOptions) -> None:
        for what, tensors in (
            ("condition", options.conditions),
            ("relevance at", options.relevance_at),
        ):
            if tensors:
                raise TargetError(
                    f"{what} {tensors[0]!r}: method {self.name!r} explains the inputs and no "
                    "tensor in between. Choose another method, or leave it out."
                )


def _gradient(emit: Emit, x: ir.Value, g: ir.Value) -> ir.Value:
    return g


def _input_x_gradient(emit: Emit, x: ir.Value, g: ir.Value) -> ir.Value:
    return emit.op("Mul", x, g)


def _saliency(emit: Emit, x: ir.Value, g: ir.Value) -> ir.Value:
    return emit.op("Abs", g)


METHODS = {
    method.name: method
    for method in (
        Method(
            "lrp",
            "the composite's rules",
            "Montavon et al. 2019",
            composite="auto",
            start="auto",
            rules=True,
            settings=("composite", "start"),
        ),
        Method(
            "gradient",
            "g",
            "Simonyan et al. 2014",
            signed=True,
            meaning=RISES,
            ends=("falls", "rises"),
            of_gradient=_gradient,
        ),
        Method("input-x-gradient", "x · g", "Shrikumar et al. 2016", of_gradient=_input_x_gradient),
        Method(
            "saliency",
            "|g|",
            "Simonyan et al. 2014",
            meaning="The darker, the more the explained output changes with this value.",
            ends=("", "strong"),
            of_gradient=_saliency,
        ),
        Method(
            "integrated-gradients",
            "(x - x₀) · mean of g on the way from x₀ to x",
            "Sundararajan et al. 2017",
            integrates=True,
            options=("steps", "baseline"),
            steps=32,
            settings=("steps", "baseline"),
        ),
        Method(
            "smooth-grad",
            "mean of g at x + noise",
            "Smilkov et al. 2017",
            signed=True,
            meaning=RISES,
            ends=("falls", "rises"),
            options=("samples", "noise"),
            samples=25,
            noise=0.15,
            settings=("samples", "noise"),
        ),
        Method(
            "grad-cam",
            "max(0, Σ α·A), A a layer's activations, α the mean of its gradient in each channel",
            "Selvaraju et al. 2017",
            meaning="The darker, the more the features of the layer speak for the explained output "
            "around here.",
            ends=("", "strong"),
            layer=True,
            options=("layer",),
            settings=("layer",),
        ),
    )
}


def method_of(options: CompileOptions) -> Method:
    """The method that the options name.

    Raises TargetError for one that is unknown, and for options that it cannot take, as `check`.
    """
    if options.method not in METHODS:
        names = ", ".join(METHODS)
        raise TargetError(f"method {options.method!r} is unknown. Give one of {names}.")
    method = METHODS[options.method]
    method.check(options)
    return method


def attribution(emit: Emit, method: Method, x: ir.Value, g: ir.Value) -> ir.Value:
    """What the method makes of a float tensor and its gradient, both of one shape."""
    emit.write_for(x, str(x.name), method.name)
    assert method.of_gradient is not None
    return method.of_gradient(emit, x, g)
