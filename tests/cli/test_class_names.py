"""Names of classes that a model's own file holds."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from commands import picture_net, run_command, write

from lrp_onnx.compiler.named_target import names_in_model

ZOO = {0: "ape", 1: "bee", 2: "cat", 3: "dog"}
LABELED = """<ir_version: 8, opset_import: ["" : 18, "ai.onnx.ml" : 3]>
g (float[N,3] x) => (string[N] label, float[N,2] p) {
  label, p = ai.onnx.ml.LinearClassifier<coefficients = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
                                         classlabels_strings = ["no", "yes"]>(x)
}"""


def test_a_classifier_names_its_classes() -> None:
    model = ir.from_proto(onnx.parser.parse_model(LABELED))
    assert names_in_model(model) == {0: "no", 1: "yes"}


@pytest.mark.parametrize("key", ["names", "id2label"])
def test_names_in_the_metadata_are_used(
    key: str, folder: object, capsys: pytest.CaptureFixture[str]
) -> None:
    for count in (4, 3):
        model = picture_net()
        names = {k: ZOO[k] for k in range(count)}
        onnx.helper.set_model_props(model, {key: str(names)})
        write("named.onnx", model)  # type: ignore[arg-type]  # a path as text
        told = run_command(capsys, "named.onnx", "x.npy", "--target", "cat", "-o", "why.npz")
        assert told.status == 0
        assert ("explained: cat (2)" in told.out) == (count == 4)
        assert ("names 3 classes, and its output 'logits' has 4" in told.err) == (count == 3)
