"""Running a compiled model: one session, arrays in, prediction and relevance out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import onnx

from lrp_onnx.arguments import as_array, checked, shown
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.data.samples import added_inputs
from lrp_onnx.errors import InputError, ModelError
from lrp_onnx.graph.annotations import (
    CONDITION,
    OTHER,
    RELEVANCE,
    each_output,
    has_batch,
    stamp_of,
)
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.graph.session import Runtime, broken_mix, is_device_value, runtime_form
from lrp_onnx.run.batching import groups, parts, stacked
from lrp_onnx.run.classes import check_classes, given_classes
from lrp_onnx.run.condition_mask import mask_of
from lrp_onnx.run.feeds import check, check_finite, fitted, listing
from lrp_onnx.run.result import Result
from lrp_onnx.run.stamp_ends import check_ends

__all__ = ["Explainer"]

MOST_THREADS = 1024


class Explainer:
    """A compiled model in ONNX Runtime; calling it explains a batch.

    It pickles, for other processes and machines: by its path, if it was opened by one, else with
    the model itself. What arrives is a session of its own, with the same providers and threads.

    compiled: what `lrp_onnx.compile` returned, or a compiled model as path, bytes or
        onnx.ModelProto.
    providers: as ONNX Runtime takes them; default CUDA if it is really there, else CPU (see
        `provider`).
    threads: how many threads compute one operator; default one per core.
    Raises ModelError for a model that lrp-onnx did not compile or the runtime does not take.
    """

    @checked
    def __init__(
        self,
        compiled: Compiled | str | os.PathLike[str] | bytes | onnx.ModelProto,
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and not 0 <= threads <= MOST_THREADS:
            raise InputError(f"threads {threads}: give a number from 1 to {MOST_THREADS}.")
        self._source = compiled.graph if isinstance(compiled, Compiled) else compiled
        self._providers, self._threads = providers, threads
        with ExitStack() as stack:
            form = stack.enter_context(runtime_form(self._source))
            self._runtime = Runtime(form, providers, threads=threads)
            self._files = stack.pop_all()  # a runtime may map a large model's file until the end
        self.metadata = stamp_of(self._runtime.metadata)
        if "explained" not in self.metadata:
            raise ModelError(
                "the model computes no relevance: lrp-onnx did not compile it. Compile it first "
                "with lrp_onnx.compile."
            )
        check_ends(self.metadata, self._runtime)
        explained = json.loads(self.metadata["explained"])
        self._first = self._runtime.outputs.index(f"{explained[0]}{RELEVANCE}")

    def __copy__(self) -> Self:
        """Another of the same session."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle keeps. Raises ModelError for a model in memory beyond 2 GB."""
        with runtime_form(self._source) as form:
            if isinstance(self._source, str | os.PathLike):
                form = os.path.abspath(self._source)
            elif isinstance(form, str):
                raise ModelError(
                    "the model is in memory and beyond 2 GB, too large to be pickled. Save it with "
                    "compiled.save(PATH) and pickle lrp_onnx.Explainer(PATH)."
                )
        stamp = stamp_of(self._runtime.metadata)
        return _reopened, (form, self._providers, self._threads, stamp)

    @property
    def provider(self) -> str:
        """The provider that runs the model: CUDAExecutionProvider if CUDA is really there."""
        return self._runtime.provider

    @property
    def notice(self) -> str | None:
        """What is wrong with the installed runtime and how to mend it; None if nothing is."""
        return broken_mix()

    @property
    def inputs(self) -> tuple[Wanted, ...]:
        """Name, dtype and shape of each input."""
        return self._runtime.inputs

    @checked
    def __call__(
        self,
        x: Array | Mapping[str, Array],
        target: Any = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Result:
        """Predict and explain a batch.

        x: an array, or arrays by input name where there are several.
        target: for a model compiled with target "input" the class of each sample (or one for all),
            with "seed" the starting relevance shaped like the output, with "similarity" the other
            embedding; where several outputs are explained a dict of these by output.
        conditions: for a model compiled with conditions, by tensor: a channel, a list of them, or
            float factors, one a channel ([C] or [N, C]); all channels of a tensor left out.
        Raises InputError where a name, dtype, rank, size, class or channel is not what the model
        wants, and where NaN or infinity in the input makes relevance so.
        """
        result = self._run(x, target, conditions)
        check_finite(self._feeds(x, None), result.relevance)
        return result

    @checked
    def unchecked(
        self,
        x: Array | Mapping[str, Array],
        target: Any = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Result:
        """As a call, whether the result is finite or not."""
        return self._run(x, target, conditions)

    @checked
    def feeds(
        self,
        x: Array | Mapping[str, Array],
        target: Any = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> dict[str, Array]:
        """The arrays that a call with these arguments gives the runtime, which `run` takes."""
        return self._fitted(x, target, conditions)

    @checked
    def run(self, feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """The outputs of the file of these names, nothing else is computed."""
        return self._runtime.run(feeds, names)

    @checked
    def on_device(
        self,
        x: Any,
        target: Any = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Result:
        """As a call, with nothing copied between device and host that need not be.

        x: an `onnxruntime.OrtValue` where it lies, or values by input name; arrays are copied to
            the device.
        target, conditions: as of a call.
        Returns OrtValues on the device of the provider; `value.numpy()` copies one to the host.
        """
        values = self._feeds(x, target) | self._masks(conditions or {}, x)
        feeds: dict[str, Any] = {
            n: v if is_device_value(v) else np.ascontiguousarray(as_array(v, f"input {n!r}"))
            for n, v in values.items()
        }
        check(self.inputs, feeds)
        classes = feeds.get("target")
        if classes is not None and is_device_value(classes):
            classes = classes.numpy()
        return self._result(self._runtime.run_on_device(feeds), classes)

    def _run(
        self, x: Array | Mapping[str, Array], target: Any, conditions: Mapping[str, Any] | None
    ) -> Result:
        feeds = self._fitted(x, target, conditions)
        return self._result(self._runtime.run(feeds), feeds.get("target"))

    def _fitted(
        self, x: Array | Mapping[str, Array], target: Any, conditions: Mapping[str, Any] | None
    ) -> dict[str, Array]:
        return fitted(self.inputs, self._feeds(x, target) | self._masks(conditions or {}, x))

    def _result(self, outputs: dict[str, Any], classes: Array | None) -> Result:
        check_classes(self.metadata, outputs, classes)
        added = [n for n in self._runtime.outputs[self._first :] if n.endswith(RELEVANCE)]
        relevance = {n.removesuffix(RELEVANCE): outputs.pop(n) for n in added}
        return Result(outputs, relevance)

    @checked
    def many(
        self,
        inputs: Iterable[Array | Mapping[str, Array]],
        batch: int = 8,
        target: Any = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Iterator[Result]:
        """Predict and explain many inputs, each as a call takes it, with a batch axis of its own,
        and yield their results in order.

        Neighbors of one shape are run together, up to `batch` samples, where the model leaves its
        batch open; inputs are taken when they are needed. target, conditions: as of a call, the
        same for every sample. Raises as a call does, and names the number of the input.
        """
        own = (self._checked(x, number) for number, x in enumerate(inputs))
        for group in groups(own, batch if self._is_open() else 1):
            result = self._run(stacked(group), target, conditions)
            each = zip(parts(result.outputs, group), parts(result.relevance, group), strict=True)
            for own_feeds, (outputs, relevance) in zip(group, each, strict=True):
                check_finite(own_feeds, relevance)
                yield Result(outputs, relevance)

    def _is_open(self) -> bool:
        """Whether samples can run together: an output without a batch axis has one."""
        return self._runtime.has_open_batch and has_batch(self.metadata)

    def _checked(self, x: Array | Mapping[str, Array], number: int) -> dict[str, Array]:
        """One of many inputs, checked before it is stacked with others."""
        added = added_inputs(self.metadata)
        try:
            feeds = {n: as_array(v, f"input {n!r}") for n, v in self._feeds(x, None).items()}
            check([w for w in self.inputs if w.name in feeds or w.name not in added], feeds)
        except InputError as e:
            raise InputError(f"inputs[{number}] of many: {e}") from e
        return feeds

    def _feeds(self, x: Array | Mapping[str, Array], target: Any) -> dict[str, Any]:
        kind, added = self.metadata["target"], added_inputs(self.metadata)
        own = [wanted.name for wanted in self.inputs if wanted.name not in added]
        if isinstance(x, Mapping):
            feeds = dict(x)
        elif len(own) == 1:
            feeds = {own[0]: x}
        else:
            raise InputError(
                f"the model has {len(own)} inputs. Give a dict of arrays: {listing(self.inputs)}."
            )
        if target is None:
            return feeds
        if kind == "input":
            return {**feeds, "target": given_classes(target, self.inputs, feeds.get(own[0]))}
        if kind == "seed":
            return {**feeds, **self._of_outputs(target, "_seed", "starting relevance")}
        if kind == "similarity":
            return {**feeds, **self._of_outputs(target, OTHER, "another embedding")}
        raise InputError(
            f"target={shown(target)}: the model was compiled for target {kind!r}. Compile it with "
            "target='input', 'seed' or 'similarity'."
        )

    def _of_outputs(self, target: Any, suffix: str, what: str) -> dict[str, Array]:
        """An array for each output, as the input behind its name wants it."""
        outputs = [one["output"] for one in each_output(self.metadata)]
        seeds = target if isinstance(target, Mapping) else {outputs[0]: target}
        if set(seeds) != set(outputs):
            raise InputError(
                f"target: {what} is given for {', '.join(map(repr, seeds))}, and the "
                f"explained outputs are {', '.join(map(repr, outputs))}. Give a dict of arrays by "
                "output."
            )
        dtypes = {wanted.name: wanted.dtype for wanted in self.inputs}
        return {f"{n}{suffix}": np.asarray(v, dtypes[f"{n}{suffix}"]) for n, v in seeds.items()}

    def _masks(
        self, conditions: Mapping[str, Any], x: Array | Mapping[str, Array]
    ) -> dict[str, Array]:
        """The mask of every conditioned tensor that the caller did not feed himself."""
        known = json.loads(self.metadata.get("conditions", "[]"))
        for name in conditions:
            if name not in known:
                listing = ", ".join(map(repr, known)) or "none"
                raise InputError(
                    f"condition {name!r}: the model was not compiled for it. It has conditions on: "
                    f"{listing}."
                )
        shapes = {wanted.name: wanted.shape for wanted in self.inputs}
        fed = x if isinstance(x, Mapping) else {}
        return {
            name + CONDITION: mask_of(name, conditions.get(name), shapes[name + CONDITION][1])
            for name in known
            if name in conditions or name + CONDITION not in fed
        }


def _reopened(
    form: str | bytes, providers: Sequence[Any] | None, threads: int | None, stamp: dict[str, str]
) -> Explainer:
    """What was pickled. Raises ModelError where its file is no longer the same."""
    explainer = Explainer(form, providers, threads)
    if explainer.metadata != stamp:
        raise ModelError(
            f"{form!r}: it was compiled anew since the Explainer was pickled. Pickle it again."
        )
    return explainer
