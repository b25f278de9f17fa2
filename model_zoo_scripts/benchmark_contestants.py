"""Other ways to explain, prepared once; each is a call that predicts and returns relevance.

Those of another package need it and torch; Unavailable says which is missing.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import benchmark_networks as networks
import numpy as np
from numpy.typing import NDArray
from obtain import Unavailable

from lrp_onnx.graph.session import Runtime

__all__ = [
    "Explain",
    "autograd",
    "captum",
    "lxt",
    "on_host",
    "on_torch",
    "other_checkout",
    "rise",
    "use_threads",
    "zennit",
]

Explain = Callable[[], Any]
"""Returns an array, or a value on the device, finished."""

MASKS = 1000
KEPT = 0.5
"""Part of the picture that a mask of RISE keeps; else DIANNA tries nine with 100 masks each."""
RISE_BATCH = 100
PARITY = Path(__file__).parent.parent / "tests" / "parity"


def use_threads(count: int) -> None:
    """Give torch as many threads as ONNX Runtime has, and float32 without TF32, as ours is."""
    torch = _module("torch")
    torch.set_num_threads(count)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def on_torch(name: str, batch: int, device: str) -> tuple[Any, Any]:
    """The network with BatchNorm folded, and its input, on the device (`cpu` or `cuda`)."""
    torch = _module("torch")
    (x,) = networks.feeds(name, batch).values()
    net = networks.torch_network(name) if name == networks.TRANSFORMER else _folded(name)
    return net.to(device), torch.from_numpy(x).to(device)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Unavailable(f"needs {error.name}") from error


@functools.lru_cache(maxsize=1)
def _folded(name: str) -> Any:
    """The network with BatchNorm folded, as ONNX Runtime does when it loads the model."""
    net = networks.torch_network(name)
    return _parity("networks").folded(net, _module("torch").float32)


def _parity(name: str) -> Any:
    """A module of the tests against other libraries."""
    if str(PARITY) not in sys.path:
        sys.path.append(str(PARITY))
    return _module(name)


@contextlib.contextmanager
def zennit(name: str, composite: str, batch: int, device: str = "cpu") -> Iterator[Explain]:
    """Zennit's composite of that name, registered once; explains the largest class."""
    torch, (net, x) = _module("torch"), on_torch(name, batch, device)
    chosen = _parity("zennit_reference").composite
    with _module("zennit.attribution").Gradient(net, chosen(composite, x)) as attributor:
        yield lambda: _finished(attributor(x, _largest(torch))[1].detach())


@contextlib.contextmanager
def autograd(name: str, composite: str, batch: int, device: str = "cpu") -> Iterator[Explain]:
    """Torch's own forward and backward pass, whatever the composite: the gradient of the largest
    class, of a transformer with respect to its embedded tokens.
    """
    net, x = on_torch(name, batch, device)
    net = copy.deepcopy(net)  # the other one will have Zennit's hooks
    for parameter in net.parameters():
        parameter.requires_grad_(False)

    def explain() -> Any:
        if name == networks.TRANSFORMER:
            leaf = net.get_input_embeddings()(x).requires_grad_()
            logits = net(inputs_embeds=leaf).logits
        else:
            leaf = x.detach().requires_grad_()
            logits = net(leaf)
        logits.max(1).values.sum().backward()
        return _finished(leaf.grad)

    yield explain


def on_host(value: Any) -> NDArray[Any]:
    """An array of what a call returned."""
    value = value.cpu() if hasattr(value, "cpu") else value
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _finished(tensor: Any) -> Any:
    """An array; from a GPU the tensor where it lies, once it is computed."""
    if tensor.device.type == "cpu":
        return np.asarray(tensor)
    _module("torch").cuda.synchronize()
    return tensor


@contextlib.contextmanager
def other_checkout(
    checkout: Path, threads: int, name: str, composite: str, batch: int
) -> Iterator[Explain]:
    """Our relevance as another checkout of lrp-onnx compiles it."""
    box = {"zbox.low": networks.LOW, "zbox.high": networks.HIGH}
    parameters = box if composite == "epsilon-gamma-box" else {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "compiled.onnx")
        arguments = [str(networks.onnx_file(name)), composite, json.dumps(parameters), path]
        subprocess.run(
            [sys.executable, "-c", COMPILE, *arguments],
            check=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
        )
        session, feeds = Runtime(path, CPU, threads=threads), networks.feeds(name, batch)
        yield lambda: session.run(feeds)[f"{next(iter(feeds))}_relevance"]


COMPILE = """
import json, sys, lrp_onnx
model, composite, parameters, path = sys.argv[1:]
compiled = lrp_onnx.compile(model, composite, parameters=json.loads(parameters), check=False)
compiled.save(path)
"""
CPU = ["CPUExecutionProvider"]


def _largest(torch: Any) -> Callable[[Any], Any]:
    """The starting relevance: the logit of the largest class of each sample."""

    def start(output: Any) -> Any:
        mask = torch.nn.functional.one_hot(output.argmax(1), output.shape[1])
        return output.detach() * mask

    return start


@contextlib.contextmanager
def captum(name: str, composite: str, batch: int) -> Iterator[Explain]:
    """Captum's LRP with its epsilon rule on every layer that has weights or averages."""
    torch, attr = _module("torch"), _module("captum.attr")
    rules, net = _module("captum.attr._utils.lrp_rules"), copy.deepcopy(_folded(name))
    for module in net.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.AdaptiveAvgPool2d):
            module.rule = rules.EpsilonRule(epsilon=1e-6)
    x = torch.from_numpy(networks.feeds(name, batch)["input"])
    explainer = attr.LRP(net)

    def explain() -> NDArray[Any]:
        target = net(x).argmax(1)
        relevance = explainer.attribute(x.clone().requires_grad_(), target=target)
        return np.asarray(relevance.detach())

    yield explain


@contextlib.contextmanager
def lxt(name: str, composite: str, batch: int) -> Iterator[Explain]:
    """LXT's efficient AttnLRP (gradient × input with its patches); relevance of each token."""
    torch, net = _module("torch"), networks.torch_network(name)
    _patch_by_lxt(torch)
    ids = torch.from_numpy(networks.feeds(name, batch)["input_ids"])
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    sums: list[Any] = []  # tokens and positions, which pass their relevance on to the tokens
    net.bert.embeddings.LayerNorm.register_forward_pre_hook(lambda _, given: sums.extend(given))

    def explain() -> NDArray[Any]:
        sums.clear()
        embedded = net.get_input_embeddings()(ids).requires_grad_()
        net(inputs_embeds=embedded).logits.max(1).values.sum().backward()
        return np.asarray((sums[0] * embedded.grad).sum(-1).detach())

    yield explain


def _patch_by_lxt(torch: Any) -> None:
    """Put LXT's patches on BERT's parts.

    Its own table of models does not load under transformers 5, so an empty one stands in for it.
    """
    table = types.ModuleType("lxt.efficient.models")
    table.get_default_map = dict  # type: ignore[attr-defined]
    sys.modules.setdefault(table.__name__, table)
    patches = _module("lxt.efficient.patches")
    bert = _module("transformers.models.bert.modeling_bert")
    patch = functools.partial
    kept = patch(patches.patch_method, patches.non_linear_forward, keep_original=True)
    gelu = _module("transformers.activations").GELUActivation
    norm = patch(patches.patch_method, patches.layer_norm_forward)
    table_of_ours = {torch.nn.LayerNorm: norm, gelu: kept, torch.nn.Tanh: kept}
    _module("lxt.efficient.core").monkey_patch(bert, table_of_ours)
    attention = patches.wrap_attention_forward(bert.eager_attention_forward)
    bert.eager_attention_forward = attention


def rise(session: Runtime, feeds: dict[str, NDArray[Any]], masks: int = MASKS) -> Explain:
    """DIANNA's RISE on the ONNX model, for the largest class of one picture."""
    method = _module("dianna.methods.rise_image").RISEImage
    ((key, x),) = feeds.items()

    def predict(pictures: Any) -> NDArray[Any]:
        return session.run({key: np.asarray(pictures, np.float32)})["logits"]

    def explain() -> NDArray[Any]:
        label = int(predict(x).argmax())
        explainer = method(n_masks=masks, p_keep=KEPT, axis_labels={0: "channels"})
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            found = explainer.explain(predict, x[0], [label], batch_size=RISE_BATCH)
        return np.asarray(found)

    return explain
