"""Sparse initializers as ordinary ones: onnx-ir has no form for them, runtimes take both."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import SparseTensorProto, TensorProto, numpy_helper

from lrp_onnx.errors import ModelError
from lrp_onnx.graph.subgraphs import proto_graphs

__all__ = ["without_sparse"]

LARGEST = 2**30
"""Elements up to which a sparse weight is written out."""


def without_sparse(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every sparse initializer written out; itself where it has none.

    Raises ModelError for one that is damaged, or too large for that.
    """
    if not any(graph.sparse_initializer for graph in proto_graphs(proto.graph)):
        return proto
    dense = onnx.ModelProto()
    dense.CopyFrom(proto)
    for graph in proto_graphs(dense.graph):
        graph.initializer.extend(map(_dense, graph.sparse_initializer))
        del graph.sparse_initializer[:]
    return dense


def _dense(sparse: SparseTensorProto) -> TensorProto:
    """Spec: ONNX SparseTensorProto; an index is linear, or one number an axis."""
    name, dims = sparse.values.name, tuple(sparse.dims)
    if prod(dims) > LARGEST:
        raise ModelError(
            f"sparse weight {name!r} of shape {list(dims)} is too large to be written out. Store "
            "it as an ordinary initializer."
        )
    values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(dims, values.dtype)
    try:
        if places.ndim == 2:
            array[tuple(places.T)] = values
        else:
            array.reshape(-1)[places] = values
    except (IndexError, ValueError) as e:
        raise ModelError(f"sparse weight {name!r} is damaged: {e}. Export the model again.") from e
    return numpy_helper.from_array(array, name)
