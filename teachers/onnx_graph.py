"""Read an ONNX file and run it. The file is data: a graph without custom operators, which ONNX Runtime interprets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from numpy.typing import NDArray

from distill.data.errors import UserError, first_line
from distill.data.files import file_digest
from distill.teachers.graph import Port
from distill.teachers.graph_runtime import Graph

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")  # of the operators that ONNX Runtime brings
_CODE = ("PythonOp", "PythonOpGrad", "EPContext")  # operators of these domains that run code


class OnnxGraph(Graph):
    """The graph of an ONNX file, which ONNX Runtime computes. It has no custom operators.

    Attributes:
        external: Further files that hold weights, by the names in the file.
    """

    def _read(self) -> None:
        """Read the file, without the weights in other files."""
        model = _model(self.path, self.where)
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.external = {name: self.path.parent / name for name in _external_files(model, self.where)}
        _refuse_code(model, self.where)
        defaults = {tensor.name for tensor in model.graph.initializer}
        self.inputs = tuple(_port(value) for value in model.graph.input if value.name not in defaults)
        self.outputs = tuple(map(_port, model.graph.output))
        self._model, self._session = model, None

    def _inner(self) -> list[str]:
        return [name for node in self._model.graph.node for name in node.output if name]

    def _prepare(self, names: Sequence[str]) -> None:
        import onnx

        model, known = self._model, {port.name for port in self.outputs}
        added = [onnx.ValueInfoProto(name=name) for name in names if name not in known]  # ONNX Runtime finds the types
        model.graph.output.extend(added)
        self._session = _session(model, self.path, self.where)
        self._model = None  # the session has the weights now

    def _compute(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[object]:
        session = self._session
        assert session is not None
        return session.run(list(self._names), dict(feeds))

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each further file that holds weights, by name."""
        return {name: file_digest(path) for name, path in self.external.items()}


def _model(path: Path, where: str) -> Any:
    """Return the model of a file, without the weights in other files."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError("--teacher onnx requires more packages: pip install 'audio-distill[onnx]'") from error
    from google.protobuf.message import DecodeError

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
