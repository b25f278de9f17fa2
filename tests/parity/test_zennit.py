"""Zennit 1.0, live: five networks, six composites, both torch exporters.

The reference is Zennit in float64 on the network with BatchNorm folded exactly. The bound per case
is max(1e-4, 5 × floor), the floor being what float32 costs Zennit itself; uniform `epsilon` is
ill-conditioned, so there the floor is at least what moving the weights by 5e-7 does to the float64
reference.
"""

from __future__ import annotations

import functools

import networks
import numpy as np
import onnxruntime
import pytest
import torch
import zennit_reference as zennit

import lrp_onnx

BOX = {"zbox.low": zennit.LOW, "zbox.high": zennit.HIGH}


@functools.cache
def prepared(name):
    """The network, its folded float64 copy, the input and the explained class."""
    net, x = networks.network(name), networks.photo_like(name)
    return net, networks.folded(net), x, int(net(x).argmax())


@functools.cache
def reference(name, composite):
    """Zennit's float64 relevance and the floor of the comparison."""
    net, exact, x, target = prepared(name)
    expected = zennit.relevance(exact, x.double(), composite, target)
    single = zennit.relevance(networks.folded(net, torch.float32), x, composite, target)
    floor = networks.difference(single, expected)
    if composite == "epsilon":
        floor = max(
            floor,
            networks.difference(
                zennit.relevance(networks.moved(exact), x.double(), composite, target), expected
            ),
        )
    return expected.numpy(), floor


@functools.cache
def onnx_file(name, exporter):
    return networks.exported(prepared(name)[0], exporter)


@pytest.mark.parametrize("composite", zennit.COMPOSITES)
@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_relevance_is_zennits(name, exporter, composite, capsys):
    expected, floor = reference(name, composite)
    _, _, x, target = prepared(name)
    parameters = BOX if composite == "epsilon-gamma-box" else {}
    compiled = lrp_onnx.compile(
        onnx_file(name, exporter),
        composite,
        parameters=parameters,
        target=target,
        fold="never" if name.startswith("vgg") else "auto",  # two references of 1 GB lie beside it
        check=False,
    )
    session = onnxruntime.InferenceSession(
        compiled.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    actual = session.run(None, {session.get_inputs()[0].name: x.numpy()})[-1]
    found, bound = networks.difference(actual.astype(np.float64), expected), max(1e-4, 5 * floor)
    with capsys.disabled():
        print(
            f"\n{name} {exporter} {composite}: {found:.1e}, floor {floor:.1e}, bound {bound:.1e}",
            end=" ",
        )
    assert found <= bound
