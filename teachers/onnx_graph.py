"""Read an ONNX file and run it. The file is data: a graph without custom operators, which ONNX Runtime interprets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import UserError, first_line
from distill.data.files import file_digest
from distill.teachers.graph import Port

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")  # of the operators that ONNX Runtime brings
_CODE = ("PythonOp", "PythonOpGrad", "EPContext")  # operators of these domains that run code
_TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64}  # of samples, by ONNX's names
_MAX_NAMED = 12  # tensors that a message names


class OnnxGraph:
    """The graph of a file. It is read first, and computes after `open`: on the CPU, with PyTorch's number of threads.

    Args:
        path: The file.
        where: The option and value of the user, for messages.

    Attributes:
        metadata: Text by name.
        external: Further files that hold weights, by the names in the file.
        inputs: Inputs without a default.
        outputs: Outputs.

    Raises:
        UserError: the packages for ONNX are missing, or the file is no ONNX file, names files outside its folder, or
            has custom operators.
    """

    def __init__(self, path: Path, where: str) -> None:
        self._path, self._where = path, where
        model = _read(path, where)
        self.metadata: Mapping[str, str] = {entry.key: entry.value for entry in model.metadata_props}
        self.external = {name: path.parent / name for name in _external_files(model, where)}
        _refuse_code(model, where)
        defaults = {tensor.name for tensor in model.graph.initializer}
        self.inputs = tuple(_port(value) for value in model.graph.input if value.name not in defaults)
        self.outputs = tuple(map(_port, model.graph.output))
        self._names: tuple[str, ...] = ()
        self._model, self._session = model, None

    def open(self, names: Sequence[str]) -> OnnxGraph:
        """Prepare the graph to compute tensors, and return it.

        Args:
            names: Names of outputs or of inner tensors.

        Raises:
            UserError: a tensor is not in the graph, or ONNX Runtime does not support the graph.
        """
        import onnx

        model, known = self._model, {port.name for port in self.outputs}
        inner = {name for node in model.graph.node for name in node.output if name}
        for name in names:
            if name not in known | inner:
                raise UserError(f"{self._where}: has no tensor {name!r}; {self.listed()}")
        added = [onnx.ValueInfoProto(name=name) for name in names if name not in known]  # ONNX Runtime finds the types
        model.graph.output.extend(added)
        self._session = _session(model, self._path, self._where)
        self._names, self._model = tuple(names), None  # the session has the weights now
        return self

    def __reduce__(self) -> tuple[Callable[..., OnnxGraph], tuple[Path, str, tuple[str, ...]]]:
        return _reopened, (self._path, self._where, self._names)  # a session cannot be copied

    def listed(self) -> str:
        """Return the inputs and outputs as text."""
        named = [f"{len(ports)} {kind}: {_names(ports)}" for kind, ports in self._sides() if ports]
        return "; ".join(named)

    def _sides(self) -> Iterator[tuple[str, tuple[Port, ...]]]:
        for kind, ports in (("input", self.inputs), ("output", self.outputs)):
            yield kind + "s" * (len(ports) != 1), ports

    def sound_input(self) -> Port:
        """Return the input. Raises UserError if there are several, or if it does not take samples."""
        if len(self.inputs) != 1:
            raise UserError(f"{self._where}: must have one input, of samples; it has {self.listed()}")
        port = self.inputs[0]
        if port.kind not in _TYPES:
            raise UserError(f"{self._where}: its input must take floating-point samples; it has {self.listed()}")
        return port

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each further file that holds weights, by name."""
        return {name: file_digest(path) for name, path in self.external.items()}

    def run(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Compute the tensors of `open`, in their order.

        Args:
            samples: The input, in its shape.

        Raises:
            UserError: the graph cannot be computed for this input, or a tensor is not of numbers.
        """
        port, session = self.inputs[0], self._session
        assert session is not None
        try:
            found = session.run(list(self._names), {port.name: samples.astype(_TYPES[port.kind])})
        except Exception as error:  # ONNX Runtime raises classes of its own, with no common base
            raise UserError(f"{self._where}: cannot be computed for {samples.shape} ({first_line(error)})") from error
        for name, value in zip(self._names, found, strict=True):
            if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
                kind = getattr(value, "dtype", type(value).__name__)
                raise UserError(f"{self._where}: {name!r} has {kind}, not floating-point numbers; {self.listed()}")
        return [value.astype(np.float32) for value in found]


def _reopened(path: Path, where: str, names: Sequence[str]) -> OnnxGraph:
    """Return a copy of an open graph."""
    return OnnxGraph(path, where).open(names)


def _names(ports: Sequence[Port]) -> str:
    return ", ".join(map(str, ports[:_MAX_NAMED])) + (", ..." if len(ports) > _MAX_NAMED else "")


def _read(path: Path, where: str) -> Any:
    """Return the model of a file, without the weights in other files."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError("--teacher onnx requires more packages: pip install 'audio-distill[onnx]'") from error
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise UserError(f"{where}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f"{where}: is not an ONNX file, or is cut off ({first_line(error)})") from error
    if not model.ir_version or not model.graph.output:
        raise UserError(f"{where}: is not an ONNX file: it has no graph")
    return model


def _port(value: Any) -> Port:
    """Return what a graph states about one of its inputs or outputs."""
    from onnx import TensorProto

    tensor = value.type.tensor_type
    element = TensorProto.DataType.Name(tensor.elem_type).lower()
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(
            size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else size.dim_param or "?"
            for size in tensor.shape.dim
        )
    return Port(value.name, element, shape)


def _graphs(model: Any) -> Iterator[Any]:
    """Yield the nodes of a model: of its graph, of graphs inside nodes, and of its functions."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in chain.from_iterable(node.attribute for node in graph.node):
            waiting += [attribute.g] if attribute.HasField("g") else []
            waiting += attribute.graphs


def _external_files(model: Any, where: str) -> list[str]:
    """Return the files that hold weights. Raises UserError if one may lie outside the folder of the model."""
    names: dict[str, None] = {}
    for tensor in chain.from_iterable(map(_tensors, _graphs(model))):
        for name in (entry.value for entry in tensor.external_data if entry.key == "location"):
            for path in (PurePosixPath(name), PureWindowsPath(name)):
                if path.is_absolute() or path.drive or path.root or ".." in path.parts:
                    raise UserError(
                        f"{where}: {tensor.name!r} names the file {name!r}, outside the folder of the model"
                    )
            names[name] = None
    return list(names)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the stored tensors of a graph or of a function."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for attribute in chain.from_iterable(node.attribute for node in graph.node):
        yield from [attribute.t] if attribute.HasField("t") else []
        yield from attribute.tensors
        for sparse in (
            *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
            *attribute.sparse_tensors,
        ):
            yield from (sparse.values, sparse.indices)


def _refuse_code(model: Any, where: str) -> None:
    """Raise UserError for an operator that ONNX Runtime does not bring, since it would need code."""
    functions = {(function.domain, function.name) for function in model.functions}
    for node in chain.from_iterable(graph.node for graph in _graphs(model)):
        is_known = node.domain in _DOMAINS and node.op_type not in _CODE
        if not is_known and (node.domain, node.op_type) not in functions:
            raise UserError(
                f"{where}: has the custom operator {node.domain}:{node.op_type}, which needs code beside the file; "
                "only standard operators are supported"
            )


def _session(model: Any, path: Path, where: str) -> Any:
    """Return a session of ONNX Runtime, whose results do not depend on chance."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # PyTorch's threads need the cores too
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own, with no common base
        opset = max((entry.version for entry in model.opset_import), default=0)
        raise UserError(
            f"{where}: ONNX Runtime {onnxruntime.__version__} cannot load it, of opset {opset} ({first_line(error)})"
        ) from error
