"""Files that hold a network as a program: ONNX, OpenVINO, TorchScript and `torch.export`.

Each is brought to one form: named inputs of known or free sizes, and a function of arrays. One thread computes a call;
what runs in parallel are the workers.
"""

from __future__ import annotations

import json
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from geochange.arrays import Array
from geochange.detectors.machines import Machine, Precision, machine_of
from geochange.detectors.models.manifest import METADATA
from geochange.errors import BadOption, UnreadableInput
from geochange.extras import load_openvino, require_packages
from geochange.parsing import cause_of, parsing
from geochange.system import available_cores

ModelEngine: TypeAlias = Literal["auto", "openvino"]
Call: TypeAlias = Callable[[Sequence[Array]], list[Array]]
"""Arrays of all inputs -> arrays of all outputs."""

SUFFIXES = (".onnx", ".xml", ".pt2", ".pt", ".pth", ".ts", ".torchscript")
FORMS = "ONNX (.onnx), OpenVINO (.xml), TorchScript (.pt) or torch.export (.pt2)"
NUMPY_TYPES = {"float": "float32", "float16": "float16", "double": "float64", "uint8": "uint8"}


@dataclass(frozen=True, slots=True)
class Port:
    """An input of a program."""

    name: str
    shape: tuple[int | None, ...] | None = None
    """Its sizes, None for any; None where not even their number is known."""
    dtype: str = "float32"


@dataclass(frozen=True)
class Program:
    """A network that can be run, ready on a device."""

    form: str
    ports: tuple[Port, ...]
    call: Call
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Text that the file holds beside the network."""
    module: Any = None
    """Of torch, where there is one: it has gradients."""

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run it.

        Raises:
            BadOption: it cannot be run on these arrays.
        """
        given = [each.astype(port.dtype, copy=False) for each, port in zip(arrays, self.ports, strict=True)]
        try:
            return self.call(given)
        except MemoryError as error:
            raise BadOption(f"tiles of {arrays[0].shape} are too much for the memory; take a smaller one") from error
        except Exception as error:
            shapes = " and ".join(str(tuple(each.shape)) for each in arrays)
            raise BadOption(f"the model cannot be run on inputs of {shapes}: {_cause(error)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Where and how a program is run."""

    device: str = "auto"
    precision: Precision = "fp32"
    engine: ModelEngine = "auto"


def open_program(path: Path, runtime: Runtime) -> Program:
    """Read a program, ready to run.

    Raises:
        UnreadableInput: the file is missing, broken, or of another form.
        BadOption: what it needs is not installed, or cannot be used here.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise BadOption(f"{path} is not a model by its name; known are {FORMS}")
    with parsing(path, "a model"):
        path.open("rb").close()
        opener = _opener_of(path, runtime)
    with _one_line(path):
        return opener(path, runtime)


def _opener_of(path: Path, runtime: Runtime) -> Callable[[Path, Runtime], Program]:
    suffix = path.suffix.lower()
    if suffix == ".xml" or (suffix == ".onnx" and runtime.engine == "openvino"):
        return _open_openvino
    if runtime.engine == "openvino":
        raise BadOption(f"the engine openvino runs ONNX and OpenVINO models, not {path.name}; leave out --engine")
    if suffix == ".onnx":
        return _open_onnx
    names = _names_in(path)
    if any("/code/" in name for name in names):
        return _open_torchscript
    if any(name.endswith("data.pkl") for name in names) and not any("models/" in name for name in names):
        raise UnreadableInput(
            f"{path} holds weights, but not the network that they belong to; save that as {FORMS}, as the "
            "documentation shows, or, where geochange train left the file, use --checkpoint"
        )
    if not names:
        raise UnreadableInput(f"{path} is not a model that torch wrote")
    return _open_exported


def _names_in(path: Path) -> list[str]:
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn what a library says of a model into one line."""
    try:
        yield
    except (BadOption, UnreadableInput):
        raise
    except Exception as error:
        raise UnreadableInput(f"{path} cannot be read as a model: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """Return the last line of an error that says something; runtimes begin with where they were."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return cause_of(type(error)(lines[-1])) if lines and len(lines) > 1 else cause_of(error)


def companions(path: Path) -> list[Path]:
    """List the files that a model consists of: beside itself, those of weights, NAME.onnx.data or NAME.bin."""
    more = [*path.parent.glob(f"{escape(path.name)}?data"), path.with_suffix(".bin")]
    belong = (path.suffix.lower() == ".onnx", path.suffix.lower() == ".xml")
    return [path, *(each for each in more if each.is_file() and belong[each.suffix == ".bin"])]


def _open_onnx(path: Path, runtime: Runtime) -> Program:
    _require_onnxruntime(path, runtime)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors, which are raised
    session = onnxruntime.InferenceSession(str(path), options, providers=_providers(runtime.device))
    ports = tuple(
        Port(each.name, tuple(size if isinstance(size, int) else None for size in each.shape), _numpy_type(each.type))
        for each in session.get_inputs()
    )

    def call(arrays: Sequence[Array]) -> list[Array]:
        found = session.run(None, {port.name: each for port, each in zip(ports, arrays, strict=True)})
        return [np.asarray(each) for each in found]

    return Program("ONNX", ports, call, dict(session.get_modelmeta().custom_metadata_map))


def _numpy_type(name: str) -> str:
    inner = name.removeprefix("tensor(").removesuffix(")")
    if inner not in NUMPY_TYPES:
        raise BadOption(f"the model takes {name}, which images are not; export it with float inputs")
    return NUMPY_TYPES[inner]


def _providers(device: str) -> list[Any]:
    import onnxruntime

    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    kind, _, number = device.partition(":")
    if device == "cpu" or (device == "auto" and not there):
        return ["CPUExecutionProvider"]
    if kind not in ("auto", "cuda") or not there:
        raise BadOption(f"onnxruntime cannot use the device {device!r} here; a GPU needs onnxruntime-gpu")
    return [("CUDAExecutionProvider", {"device_id": number or "0", "use_tf32": "0"}), "CPUExecutionProvider"]


def machine_for(path: Path, runtime: Runtime) -> Machine:
    """Return what this machine can run a program on.

    Raises:
        BadOption: what it needs is not installed, or cannot be used here.
    """
    suffix = path.suffix.lower()
    if suffix == ".xml" or runtime.engine == "openvino":
        _require_openvino(runtime)
        return Machine(gpu=False)
    if suffix == ".onnx":
        _require_onnxruntime(path, runtime)
        return Machine(gpu=len(_providers(runtime.device)) > 1)
    import_torch(path)
    from geochange.detectors.networks.engines import require_precision
    from geochange.detectors.networks.scorer import find_device

    device = find_device(runtime.device)
    require_precision(device, runtime.precision)
    return machine_of(device)


def _require_onnxruntime(path: Path, runtime: Runtime) -> None:
    require_packages(f"to run {path.name}, geochange", "onnx", "onnxruntime")
    if runtime.precision != "fp32":
        raise BadOption(f"an ONNX model is run in its own precision; {runtime.precision} needs --engine openvino")


def _require_openvino(runtime: Runtime) -> None:
    require_packages("the engine openvino", "openvino", "openvino")
    if runtime.device not in ("auto", "cpu") or runtime.precision == "fp16":
        raise BadOption(
            f"the engine openvino runs on the CPU in fp32 or bf16, not on {runtime.device}, {runtime.precision}"
        )


def _open_openvino(path: Path, runtime: Runtime) -> Program:
    _require_openvino(runtime)
    openvino = load_openvino()
    core, cores = openvino.Core(), str(available_cores())
    model = core.read_model(path)
    ports = tuple(
        Port(
            each.get_any_name(),
            tuple(size.get_length() if size.is_static else None for size in each.get_partial_shape()),
            np.dtype(each.get_element_type().to_dtype()).name,
        )
        for each in model.inputs
    )
    metadata = {METADATA: model.get_rt_info(METADATA).astype(str)} if model.has_rt_info(METADATA) else {}
    precision = {"fp32": "f32", "bf16": "bf16"}[runtime.precision]
    hints = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}
    compiled, local = core.compile_model(model, "CPU", hints), threading.local()

    def call(arrays: Sequence[Array]) -> list[Array]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        return [np.array(each) for each in local.request.infer(list(arrays)).values()]

    return Program("OpenVINO", ports, call, metadata)


def _open_torchscript(path: Path, runtime: Runtime) -> Program:
    import_torch(path)
    import torch

    from geochange.detectors.networks.scorer import find_device

    device, jit = find_device(runtime.device), cast(Any, torch.jit)  # torch gives it no types
    with warnings.catch_warnings(action="ignore"):  # of torch.jit's own age
        extra = {METADATA: ""}
        module = jit.load(str(path), map_location=device, _extra_files=extra).eval()
    needed = [each for each in module.forward.schema.arguments[1:] if not each.has_default_value()]
    ports = tuple(Port(each.name) for each in needed)
    text = extra[METADATA]
    text = text.decode() if isinstance(text, bytes) else text
    call = _torch_call(module, device, runtime.precision)
    return Program("TorchScript", ports, call, {METADATA: text} if text else {}, module)


def _open_exported(path: Path, runtime: Runtime) -> Program:
    import_torch(path)
    import torch
    from torch.export.passes import move_to_device_pass

    from geochange.detectors.networks.scorer import find_device

    device, extra = find_device(runtime.device), {METADATA: ""}
    with warnings.catch_warnings(action="ignore"):  # of other versions of torch, whose files it reads all the same
        exported = torch.export.load(str(path), extra_files=extra)
        if device.type != "cpu":
            exported = move_to_device_pass(exported, device)
    names = exported.graph_signature.user_inputs
    shapes = {
        node.name: tuple(size if isinstance(size, int) else None for size in node.meta["val"].shape)
        for node in exported.graph.nodes
        if node.op == "placeholder" and node.name in names
    }
    ports = tuple(Port(str(name), shapes[str(name)]) for name in names)
    metadata = {METADATA: extra[METADATA]} if extra[METADATA] else {}
    module = exported.module()
    return Program("torch.export", ports, _torch_call(module, device, runtime.precision), metadata, module)


def import_torch(path: Path) -> None:
    """Refuse, with BadOption, to read a model of torch where that is not installed."""
    require_packages(f"to run {path.name}, geochange", "torch", "torch")


def _torch_call(module: Any, device: Any, precision: Precision) -> Call:
    import torch

    from geochange.detectors.networks.engines import PRECISIONS, require_precision

    require_precision(device, precision)
    if device.type == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False
    dtype, jit = PRECISIONS[precision], cast(Any, torch.jit)

    def call(arrays: Sequence[Array]) -> list[Array]:
        if device.type == "cpu" and torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # of this thread: workers are what runs in parallel
        tensors = [torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in arrays]
        with (
            torch.inference_mode(),
            jit.optimized_execution(False),  # which would compute the first tiles otherwise than the later ones
            torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
        ):
            found = module(*tensors)
        return [each.float().cpu().numpy() if each.is_floating_point() else each.cpu().numpy() for each in flat(found)]

    return call


def flat(found: Any) -> list[Any]:
    """Return the tensors of a network's answer, which may be one, several, or some by name."""
    if isinstance(found, Mapping):
        return [tensor for each in found.values() for tensor in flat(each)]
    if isinstance(found, list | tuple):
        return [tensor for each in found for tensor in flat(each)]
    return [found] if hasattr(found, "is_floating_point") else []


def metadata_of(program: Program) -> Mapping[str, Any]:
    """Return what a file says of itself, as a manifest has it; empty where it says nothing."""
    text = program.metadata.get(METADATA)
    if not text:
        return {}
    with parsing("the metadata of the model", "JSON"):
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it holds no names with values")
    return found
