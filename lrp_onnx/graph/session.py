"""ONNX Runtime: which provider is really there, and sessions that say in words what went wrong.

ONNX Runtime does not raise when CUDA cannot load, it prints and takes the CPU; so the session is
asked.  Its packages share one folder, and with two of them installed, or one of two removed, what
is left is broken.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from lrp_onnx.errors import InputError, LrpError, ModelError
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.graph.map_outputs import deserialized, serialized
from lrp_onnx.graph.model_file import LARGEST_FILE, ModelSource, load, read_weights, readable
from lrp_onnx.graph.temporary import temporary_folder

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "CPU",
    "OutOfMemory",
    "Runtime",
    "broken_mix",
    "dtype_of",
    "import_runtime",
    "is_device_value",
    "own_operators",
    "runtime_form",
    "shape_of",
]

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""Distributions that write into the same folder `onnxruntime`."""
SILENT = 4
WARNING = 2
CPU = "CPUExecutionProvider"
# TF32 keeps 10 bits of the mantissa: far from the 1e-5 that is promised
CUDA = ("CUDAExecutionProvider", {"use_tf32": "0"})
DEVICES = {"CUDAExecutionProvider": "cuda"}
DTYPES = {"float": "float32", "double": "float64", "string": "object"}


NO_MEMORY = "AllocateRaw|bad.alloc|allocate memory"
"""How the runtime says that there is none."""


class OutOfMemory(InputError):
    """An input for which a run needs more memory than there is."""


class Runtime:
    """One session of ONNX Runtime.

    providers: as ONNX Runtime takes them; default CUDA if it is really there, else CPU.
    plain: without the runtime's own rewriting of the graph, so that two graphs round alike.
    threads: how many threads compute one operator; default one per core.
    Raises ModelError where the runtime does not take the model, LrpError where the runtime itself
    is broken.
    """

    def __init__(
        self,
        model: str | bytes | os.PathLike[str],
        providers: Sequence[Any] | None = None,
        plain: bool = False,
        threads: int | None = None,
    ) -> None:
        ort = import_runtime()
        options = ort.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = threads or 0
        if plain:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        source = model if isinstance(model, bytes) else os.fspath(model)
        with _translated(ort, "ONNX Runtime cannot open the model", ModelError):
            self.session = _open(ort, source, options, providers)
        self.inputs = tuple(_wanted(value) for value in self.session.get_inputs())
        self.outputs = tuple(value.name for value in self.session.get_outputs())

    @property
    def provider(self) -> str:
        """The provider that runs the model, such as CUDAExecutionProvider."""
        return str(self.session.get_providers()[0])

    @property
    def has_open_batch(self) -> bool:
        """Whether inputs and outputs have the batch along axis 0, a size that the run knows."""
        shapes = [w.shape for w in self.inputs] + [v.shape for v in self.session.get_outputs()]
        sizes = {shape[0] if len(shape) else 1 for shape in shapes}
        return len(sizes) == 1 and isinstance(next(iter(sizes)), str)

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """The outputs of those names (default all); nothing is computed that they do not need.

        Raises InputError with the runtime's reason.
        """
        ort = import_runtime()
        wanted = self.outputs if names is None else tuple(names)
        if not wanted:  # the runtime takes none for all
            return {}
        options = ort.RunOptions()
        options.log_severity_level = SILENT
        options.only_execute_path_to_fetches = names is not None
        with _translated(ort, "ONNX Runtime cannot run the model on this input", InputError):
            return dict(
                zip(wanted, self.session.run(list(wanted), dict(feeds), options), strict=True)
            )

    def run_on_device(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """All outputs as values on the provider's device; feeds that lie on it are read in place.

        feeds: arrays or `onnxruntime.OrtValue`.  Raises InputError with the runtime's reason.
        """
        ort = import_runtime()
        options = ort.RunOptions()
        options.log_severity_level = SILENT
        binding = self.session.io_binding()
        device = DEVICES.get(self.provider, "cpu")
        with _translated(ort, "ONNX Runtime cannot run the model on this input", InputError):
            for name, value in feeds.items():
                bind = (
                    binding.bind_ortvalue_input
                    if is_device_value(value)
                    else binding.bind_cpu_input
                )
                bind(name, value)
            for name in self.outputs:
                binding.bind_output(name, device)
            self.session.run_with_iobinding(binding, options)
            return dict(zip(self.outputs, binding.get_outputs(), strict=True))


def is_device_value(value: Any) -> bool:
    """Whether it is an `onnxruntime.OrtValue`, on whatever device, and no array."""
    return isinstance(value, import_runtime().OrtValue)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array or of a value on a device."""
    return tuple(value.shape()) if is_device_value(value) else np.shape(value)


def import_runtime() -> Any:
    """The module onnxruntime; LrpError says how to mend an installation that lacks it."""
    try:
        import onnxruntime
    except ImportError as e:
        raise LrpError(f"onnxruntime cannot be imported ({e}). {_mend()}") from e
    if not hasattr(onnxruntime, "InferenceSession"):
        raise LrpError(f"onnxruntime is installed, but parts of it are missing. {_mend()}")
    return onnxruntime


def own_operators() -> set[tuple[str, str]]:
    """Domain and name of every operator that ONNX Runtime knows."""
    schemas = import_runtime().capi.onnxruntime_pybind11_state.get_all_operator_schema()
    return {(schema.domain, schema.name) for schema in schemas}


def broken_mix() -> str | None:
    """What is wrong if several packages wrote into onnxruntime's folder, and how to mend it."""
    installed = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    if len(installed) < 2:
        return None
    listing = " and ".join(f"{name} {version}" for name, version in installed.items())
    return f"{listing} are installed, write into one folder and break each other. {_mend()}"


def _mend() -> str:
    installed = [name for name in PACKAGES if _version(name) is not None]
    package = "onnxruntime-gpu" if "onnxruntime-gpu" in installed else "onnxruntime"
    remove = f"pip uninstall -y {' '.join(installed)} && " if installed else ""
    return f"Run: {remove}pip install {package}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _open(
    ort: Any, model: str | bytes, options: Any, providers: Sequence[Any] | None
) -> onnxruntime.InferenceSession:
    if providers is not None:
        return ort.InferenceSession(model, options, providers=list(providers))
    if CUDA[0] not in ort.get_available_providers() or not _has_driver():
        return ort.InferenceSession(model, options, providers=[CPU])
    with contextlib.redirect_stdout(io.StringIO()):  # it prints each library it does not find
        getattr(ort, "preload_dlls", lambda: None)()
    ort.set_default_logger_severity(SILENT)
    try:
        return ort.InferenceSession(model, options, providers=[CUDA, CPU])
    finally:
        ort.set_default_logger_severity(WARNING)


def _has_driver() -> bool:
    """Whether the machine has NVIDIA's driver: without it CUDA is not even tried."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _translated(ort: Any, fact: str, error: type[LrpError]) -> Iterator[None]:
    """The runtime's exceptions, which have no base class of their own, as one of ours."""
    state = ort.capi.onnxruntime_pybind11_state
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoModel",
        "NoSuchFile",
        "NotImplemented",
        "RuntimeException",
    )
    kinds = (*(getattr(state, name) for name in names), ValueError, RuntimeError)
    try:
        yield
    except kinds as e:
        reason = str(e).strip().partition("\n")[0].split(" : ")[-1]
        if error is InputError and re.search(NO_MEMORY, reason):
            error = OutOfMemory
        raise error(f"{fact}: {reason.rstrip('. ')}.") from e


def dtype_of(kind: str) -> np.dtype[Any]:
    """The dtype of what ONNX Runtime calls tensor(…); TypeError where NumPy has none."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return np.dtype(DTYPES.get(name, name))


def _wanted(value: Any) -> Wanted:
    try:
        dtype = dtype_of(value.type)
    except TypeError as e:
        raise ModelError(
            f"input {value.name!r} is a {value.type}, which has no NumPy array. Export the model "
            "with tensors."
        ) from e
    unknown = ("", "?")  # Paddle's word for a size that is open, and no name that sizes share
    return Wanted(value.name, dtype, tuple(None if n in unknown else n for n in value.shape))


@contextlib.contextmanager
def runtime_form(source: ModelSource) -> Iterator[str | bytes]:
    """The model as a session takes it: a path or bytes.

    One in memory beyond 2 GB becomes a temporary file, which is removed at the end.
    """
    if isinstance(source, bytes):
        yield source
    elif not isinstance(source, onnx.ModelProto | ir.Model):
        with readable(Path(source)):  # ONNX Runtime's own words for a missing file name no remedy
            Path(source).open("rb").close()
        if _is_unicode(os.fspath(source)):
            yield os.fspath(source)
        else:  # the runtime takes no such name
            with _large_or_small(load(source)) as form:
                yield form
    elif isinstance(source, onnx.ModelProto) and source.ByteSize() < LARGEST_FILE:
        yield source.SerializeToString()
    else:
        model = source if isinstance(source, ir.Model) else deserialized(source)
        with _large_or_small(model) as form:
            yield form


def _is_unicode(path: str) -> bool:
    """Whether a file's name is text, and not bytes that the system's encoding does not know."""
    return not re.search("[\ud800-\udfff]", path)


@contextlib.contextmanager
def _large_or_small(model: ir.Model) -> Iterator[str | bytes]:
    tensors = (v.const_value for v in model.graph.initializers.values())
    if sum(t.nbytes for t in tensors if t is not None) < LARGEST_FILE:
        yield serialized(read_weights(model)).SerializeToString()
        return
    with temporary_folder() as folder:
        path = folder / "model.onnx"
        ir.save(model, path, external_data="model.data")
        yield str(path)
