"""Reading and writing models: onnx-ir is the only form in memory, weights are never copied on the
way in.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from lrp_onnx.arguments import shown
from lrp_onnx.errors import ModelError
from lrp_onnx.graph.annotations import VERSION
from lrp_onnx.graph.constants import SMALL
from lrp_onnx.graph.map_outputs import deserialized
from lrp_onnx.graph.negative_sizes import refuse_negative_sizes
from lrp_onnx.graph.node_claims import check_claims, check_weights_of_bodies, write_out
from lrp_onnx.graph.small_model import in_small
from lrp_onnx.graph.source_file import ordinary
from lrp_onnx.graph.sparse import without_sparse
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = [
    "LARGEST_FILE",
    "ModelSource",
    "check_original",
    "load",
    "read_weights",
    "readable",
    "sha256_of",
]

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model

LARGEST_PROTO = 2**31
"""Bytes that a protobuf file has less of."""
LARGEST_FILE = LARGEST_PROTO - 2**24
"""Bytes of weights up to which a model fits in one protobuf file, with room for its graph."""

OTHERS = {
    "map_type": "a map",
    "opaque_type": "of a type that its domain alone knows",
    "sparse_tensor_type": "a sparse tensor",
}
"""Types without arrays, by protobuf's names."""


def sha256_of(source: ModelSource) -> str:
    """The sha256 of a file or of bytes; empty for a model in memory."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if isinstance(source, onnx.ModelProto | ir.Model):
        return ""
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(source: ModelSource) -> ir.Model:
    """Parse a model from a path, bytes, a ModelProto or an onnx_ir.Model (which is cloned).

    External data stays where it is, mapped into memory, and must lie inside the model's folder.
    Raises ModelError for a file that is missing, is no ONNX model, or is not a valid graph.
    """
    if not isinstance(source, str | os.PathLike | bytes | onnx.ModelProto | ir.Model):
        raise ModelError(
            f"source {shown(source)} is no model. Give a path, bytes, an onnx.ModelProto or an "
            "onnx_ir.Model."
        )
    if isinstance(source, ir.Model):
        return source.clone()
    if isinstance(source, onnx.ModelProto):
        return _checked(_from_proto(source, "the given model", None), "the given model")
    if isinstance(source, bytes):
        return _checked(
            _from_proto(_parse(source, "the given bytes"), "the given bytes", None),
            "the given bytes",
        )
    path = Path(source)
    return _checked(
        _from_proto(_parse(_read(path), repr(str(path))), repr(str(path)), path), repr(str(path))
    )


def check_original(model: ir.Model) -> None:
    """Raise ModelError for a model that lrp-onnx compiled."""
    if VERSION in model.metadata_props:
        raise ModelError(
            "the model already computes relevance: lrp-onnx compiled it. Give the model that it "
            "was compiled from."
        )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """ModelError for a folder, and for what reading the file in the block raises."""
    try:
        if ordinary(path).is_dir():
            raise ModelError(f"{str(path)!r} is a folder. Give the path of an .onnx file.")
        yield
    except OSError as e:
        raise ModelError(f"{str(path)!r} cannot be read: {e.strerror}. Check the path.") from e


def _read(path: Path) -> bytes:
    with readable(path):
        if path.stat().st_size >= LARGEST_PROTO:
            raise ModelError(
                f"{str(path)!r} is no ONNX model: none is larger than 2 GB. "
                "Save the model with its weights beside it."
            )
        return path.read_bytes()


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    if not data:
        raise ModelError(f"{name} is empty. Export or download the model again.")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as e:
        raise ModelError(
            f"{name} is not an ONNX model, or is truncated. Export or download it again."
        ) from e
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelError(
            f"{name} is not an ONNX model: it holds no graph. Export or download it again."
        )
    return proto


def _check_input(value: onnx.ValueInfoProto, name: str) -> None:
    """Raise ModelError for an input that no runtime takes as arrays."""
    kind = value.type
    while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
        one = kind.sequence_type if kind.HasField("sequence_type") else kind.optional_type
        kind = one.elem_type
    if (what := OTHERS.get(kind.WhichOneof("value") or "")) is not None:
        raise ModelError(
            f"{name}: input {value.name!r} is {what}, and a model is explained on tensors. Export "
            "it with tensors as inputs."
        )


def _from_proto(proto: onnx.ModelProto, name: str, path: Path | None) -> ir.Model:
    proto = without_sparse(proto)
    for value in proto.graph.input:
        _check_input(value, name)
    try:
        model = deserialized(proto)
    except ir.serde.SerdeError as e:
        raise ModelError(f"{name} is damaged. Export or download it again.") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ModelError(f"{name} is not a valid ONNX model: {e}. Export it again.") from e
    _check_functions(proto, name)
    _check_ends(model.graph, name)
    check_claims(model, name)
    check_weights_of_bodies(model.graph, name)
    _open_unknown(model.graph)
    _name_domains(model)
    folder = None if path is None else path.resolve().parent
    for tensor in _tensors(model.graph):
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor, name, folder)
        else:
            _check_length(tensor, name)
    if folder is not None:
        ir.external_data.set_base_dir(model.graph, folder)
        read_weights(model, SMALL)  # through_proto shows them to functions by value
    return model


def _check_ends(graph: ir.Graph, name: str) -> None:
    """Every input and output has a name of its own."""
    for what, values in (("input", graph.inputs), ("output", graph.outputs)):
        counts = Counter(v.name for v in values)
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice is not None:
            raise ModelError(
                f"{name}: {what} {twice!r} is declared twice. Remove one of the two from the model."
            )


def _check_functions(proto: onnx.ModelProto, name: str) -> None:
    """Every function is there once."""
    counts = Counter((f.domain, f.name, f.overload) for f in proto.functions)
    twice = next((key for key, count in counts.items() if count > 1), None)
    if twice is not None:
        raise ModelError(
            f"{name}: function {twice[1]!r} of domain {twice[0]!r} is there twice. Remove one of "
            "the two from the model."
        )


RUNTIME_ONLY = ("SimplifiedLayerNormalization",)
"""Operators that ONNX Runtime adds to the standard's domain."""


def _name_domains(model: ir.Model) -> None:
    """Give operators that are not the standard's the domain of the runtime that knows them, and
    import the domains that the file forgot: what the runtime's optimizer leaves in memory lacks
    them, and the runtime runs it.
    """
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in nodes_of(graph):
            if node.domain == "ai.onnx":  # the long name of the standard's
                node.domain = ""
            write_out(node)
            if node.op_type in RUNTIME_ONLY and not node.domain:
                node.domain = "com.microsoft"
            if node.domain.startswith("com.microsoft"):
                model.graph.opset_imports.setdefault(node.domain, 1)


def _open_unknown(graph: ir.Graph) -> None:
    """Make axes of size -1 or named '?' nameless: Paddle's exporters write them for any size; and
    what is claimed of a result beyond all memory, with which onnx would compute.
    """
    for value in (*graph.inputs, *graph.outputs, *(v for n in graph for v in n.outputs)):
        if value.shape is not None:
            most = LARGEST_SIZE if value.producer() is not None else None
            sizes = (None if str(d) == "?" or _is_no_size(d, most) else d for d in value.shape)
            value.shape = ir.Shape(sizes)


LARGEST_SIZE = 2**40


def _is_no_size(size: int | ir.SymbolicDimProtocol, most: int | None) -> bool:
    return isinstance(size, int) and (size < 0 or (most is not None and size > most))


def read_weights(model: ir.Model, largest: float = math.inf) -> ir.Model:
    """The model with its external tensors, up to so many bytes each, in memory; their file stays
    mapped as long as something else reads it.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= largest:
                content = tensor.numpy().copy()
                value.const_value = ir.Tensor(content, name=tensor.name, dtype=tensor.dtype)
    return model


def _tensors(graph: ir.Graph) -> Iterator[ir.TensorProtocol]:
    """The tensors of initializers and attributes, subgraphs included."""
    for inner in (graph, *graph.subgraphs()):
        yield from (v.const_value for v in inner.initializers.values() if v.const_value is not None)
    for node in nodes_of(graph):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR:
                yield attribute.as_tensor()


def _check_length(tensor: ir.TensorProtocol, name: str) -> None:
    """A small tensor has as many elements as its shape says; onnx's checker does not count."""
    if tensor.nbytes > SMALL:
        return
    try:
        tensor.numpy()
    except ValueError as e:
        raise ModelError(
            f"{name}: tensor {tensor.name!r} has not as many elements as its shape {tensor.shape} "
            "says. Export the model again."
        ) from e


def _check_external(tensor: ir.ExternalTensor, name: str, folder: Path | None) -> None:
    """External data must be there, long enough, and inside the model's folder."""
    if folder is None:
        raise ModelError(
            f"{name}: tensor {tensor.name!r} lies in the external file {tensor.location!r}. Give "
            "the path of the model."
        )
    file = (folder / tensor.location).resolve()
    if not file.is_relative_to(folder):
        raise ModelError(
            f"{name}: tensor {tensor.name!r} points outside the model's folder "
            f"({tensor.location!r}), which is not "
            "read. Save the model with its weights beside it."
        )
    if not file.is_file():
        raise ModelError(
            f"{name}: its weights in {tensor.location!r} are missing. Put that file beside the "
            "model."
        )
    if (tensor.offset or 0) + (tensor.length or 0) > file.stat().st_size:
        raise ModelError(
            f"{name}: the weights file {tensor.location!r} is truncated. Download it again."
        )


def _checked(model: ir.Model, name: str) -> ir.Model:
    """The model, if onnx's checker finds nothing wrong with its graph."""
    try:
        _check(in_small(model)[0])
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        fact = str(e).strip().splitlines()[0].rstrip(".")
        raise ModelError(f"{name} is not a valid ONNX model: {fact}. Export it again.") from e
    except (ir.serde.SerdeError, TypeError) as e:  # names that are no text, unknown types
        raise ModelError(f"{name} is damaged. Export or download it again.") from e
    return model


def _check(proto: onnx.ModelProto) -> None:
    for value in proto.graph.output:  # older converters leave the shape out; runtimes accept that
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            refuse_negative_sizes(proto)
            inferred = onnx.shape_inference.infer_shapes(proto)
            outputs = {v.name: v for v in inferred.graph.output}
            value.CopyFrom(outputs[value.name])
            value.type.tensor_type.shape.SetInParent()  # behind an operator of another domain
    onnx.checker.check_model(proto)
