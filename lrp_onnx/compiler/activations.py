"""Inner tensors of the model itself as outputs: what a layer computes, beside its relevance.

They are the prediction's, computed by the model's own nodes, so tensors that the canonical view
does not have, such as a convolution's in front of a folded BatchNormalization, are there too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.graph.annotations import ACTIVATION, RULE, provenance
from lrp_onnx.graph.appending import append_node, make_room
from lrp_onnx.graph.small_model import in_small
from lrp_onnx.graph.tensors import tensor_of

__all__ = ["Activations"]

Types = Mapping[str | None, tuple[ir.TypeProtocol | None, ir.Shape | None]]


class Activations:
    """Those that were asked for, of a model that was just normalized.

    Raises TargetError for a name that no inner tensor of the model has.
    """

    def __init__(self, model: ir.Model, prediction: Prediction, names: Sequence[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        ends = {v.name: "input" for v in model.graph.inputs}
        ends |= {v.name: "output" for v in model.graph.outputs}
        for name in self.names:
            if name in ends:
                raise TargetError(
                    f"activation at {name!r}: that is an {ends[name]} of the model already. Leave "
                    "it out."
                )
            if name not in prediction.tensors:
                tensor_of(model, name)  # which says what else the name may be
                raise TargetError(
                    f"activation at {name!r}: the model computes no such tensor on the way to its "
                    "outputs. `lrp-onnx inspect MODEL --tensors` lists them, node by node."
                )
        values = (v for node in model.graph for v in node.outputs)
        self.known: Types = {v.name: (v.type, v.shape) for v in values if v.name in self.names}

    def add_to(self, model: ir.Model) -> None:
        """Add an output `<tensor>_activation` for each; the prediction's nodes are back."""
        if not self.names:
            return
        inferred = _types(model)
        for name in self.names:
            value = _own(model, name)
            type_, shape = inferred.get(value.name) or self.known.get(name) or (None, None)
            if type_ is None:
                raise TargetError(
                    f"activation at {name!r}: onnx cannot tell its element type, which an output "
                    "must declare. Choose a tensor before or behind it."
                )
            _add_output(model.graph, value, f"{name}{ACTIVATION}", type_, shape)


def _own(model: ir.Model, name: str) -> ir.Value:
    """The prediction's tensor of that name; one that was known beforehand is a weight by now."""
    nodes = (n for n in model.graph if RULE not in n.metadata_props)
    computed = {v.name: v for n in nodes for v in n.outputs}
    for known in (name, f"{name}/own"):  # the signature of the compiled model may have its name
        if known in computed:
            return computed[known]
    return model.graph.initializers[name]


def _types(model: ir.Model) -> Types:
    """Type and shape of every tensor that onnx can tell them of."""
    proto = onnx.shape_inference.infer_shapes(in_small(model)[0], data_prop=True)
    weights = {n: (v.type, v.shape) for n, v in model.graph.initializers.items()}
    infos = {i.name: ir.serde.deserialize_value_info_proto(i, None) for i in proto.graph.value_info}
    return weights | {name: (v.type, v.shape) for name, v in infos.items() if v.type is not None}


def _add_output(
    graph: ir.Graph,
    value: ir.Value,
    name: str,
    type_: ir.TypeProtocol,
    shape: ir.Shape | None,
) -> None:
    if any(v.name == name for v in (*graph.inputs, *graph.outputs)):
        raise TargetError(
            f"output {name!r}: the model already has an input or output of that name. Rename it."
        )
    make_room(graph, name)
    result = ir.Value(name=name, type=type_, shape=shape)
    props = provenance(str(value.name), "activation")
    append_node(graph, "Identity", [value], [result], f"lrp/{name}", metadata=props)
    graph.outputs.append(result)
