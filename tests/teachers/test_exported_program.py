"""The interpreter of graphs of torch.export: equal to PyTorch, and no operator that could run code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.errors import UserError
from distill.teachers.exported_graph import ExportedGraph
from tests.teachers.exported_files import FREE, changed, export, node_of, save


def with_spectrum(w: Tensor) -> Tensor:
    spectrum = torch.stft(w, 64, 32, window=torch.hann_window(64), return_complex=True).abs()
    return F.pad(spectrum, (0, 3 - spectrum.shape[2] % 3), mode="constant")


def with_sizes(w: Tensor) -> Tensor:
    half = w[:, : w.shape[1] // 2].reshape(w.shape[0], -1, 2)
    return torch.cat([half, half.flip(1)], 1) / (w.shape[1] ** 0.5)


def with_lists(w: Tensor) -> Tensor:
    first, second = w.chunk(2, -1)
    values, _ = torch.stack([first, second[:, : first.shape[1]]]).topk(1, 0)
    return torch.einsum("bt,bs->bts", values[0][:, :8], values[0][:, :8]).softmax(-1)


def in_place(w: Tensor) -> Tensor:
    found = w * 1
    found[:, :3] += 2.0
    found[:, 4] = -torch.inf
    return torch.where(found > 0, found, 0.5)


def without_gradient(w: Tensor) -> Tensor:
    with torch.no_grad():
        twice = w * 2
    with torch.autocast("cpu", enabled=False):
        return twice @ twice.T + w.shape[1]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, w: Tensor) -> Tensor:
        hidden = self.lstm(w[:, :40].reshape(w.shape[0], 10, 4))[0]
        hidden = self.attention(hidden, hidden, hidden, need_weights=False)[0]
        return F.dropout(self.norm(hidden.transpose(1, 2)), 0.5, self.training)


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, waveform: Tensor) -> Tensor:
        return self.function(waveform)


@pytest.mark.parametrize(
    "network",
    [*map(Function, (with_spectrum, with_sizes, with_lists, in_place, without_gradient)), Recurrent()],
    ids=lambda network: getattr(getattr(network, "function", network), "__name__", "recurrent"),
)
def test_it_computes_what_the_network_computes(network: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = save(tmp_path, export(network.eval(), torch.randn(2, 1000)))
    graph = ExportedGraph(Path(path), "here")
    graph.open([graph.outputs[0].name])
    for shape in ((2, 1000), (3, 1000), (2, 1400)):
        waveform = torch.randn(shape)
        with torch.no_grad():
            expected = network(waveform)
        torch.testing.assert_close(torch.from_numpy(graph.run(waveform.numpy())[0]), expected, atol=1e-5, rtol=1e-5)


def test_precision_is_that_of_the_file(tmp_path: Path) -> None:
    graph = ExportedGraph(Path(save(tmp_path, changed())), "here").open(["clip"])
    waveform = np.random.default_rng(0).standard_normal((2, 16_000), dtype=np.float32)
    expected = graph.run(waveform)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(graph.run(waveform)[0], expected)


def calls(target: str, *arguments: Any) -> Callable[[Any], None]:
    """Return a change of a graph: its first operator becomes another one."""

    def change(model: Any) -> None:
        inputs = [{"name": "x", "arg": argument, "kind": 1} for argument in arguments]
        node_of(model, "unsqueeze.default").update(target=target, inputs=inputs)

    return change


TEXT, SOUND = {"as_string": "touch RAN"}, {"as_tensor": {"name": "waveform"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (calls("torch.os.system", TEXT), "custom operator torch.os.system"),
        (calls("torch.ops.aten.os.system", TEXT), "custom operator torch.ops.aten.os.system"),
        (calls("torch.ops.load_library", TEXT), "custom operator torch.ops.load_library"),
        (calls("torch.ops.aten.__class__.default", TEXT), "custom operator torch.ops.aten.__class__"),
        (calls("torch.ops.aten.relu.__class__", TEXT), "custom operator torch.ops.aten.relu.__class__"),
        (calls("torch.ops.mine.relu.default", SOUND), "custom operator torch.ops.mine.relu.default"),
        (calls("_operator.attrgetter", TEXT), "custom operator _operator.attrgetter"),
        (calls("math.fsum", TEXT), "custom operator math.fsum"),
        (calls("torch.ops.aten.save.default", SOUND, {"as_string": "RAN"}), "custom operator torch.ops.aten.save"),
        (calls("torch.ops.aten.from_file.default", {"as_string": "/etc/passwd"}), "custom operator .*from_file"),
        (calls("torch.ops.higher_order.cond", SOUND), "higher_order.cond, which is not supported"),
        (calls("torch.ops.aten.nothing.default", SOUND), "custom operator torch.ops.aten.nothing.default"),
    ],
)  # fmt: skip
def test_an_operator_that_is_not_of_tensors_is_refused(
    change: Callable[[Any], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"here: has .*{message}") as raised:
        ExportedGraph(Path(save(tmp_path, changed(model=change))), "here")
    assert "\n" not in str(raised.value)
    assert not Path("RAN").exists()


def test_autocast_is_refused(tmp_path: Path) -> None:
    def cast(waveform: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return waveform @ waveform.T

    path = Path(save(tmp_path, export(Function(cast), torch.randn(2, 1000), free=None)))
    with pytest.raises(UserError, match="export it without autocast"):
        ExportedGraph(path, "here")


def test_expressions_in_the_file_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.export.load evaluates the size of a dimension as Python. Here it is the name of a dimension."""
    monkeypatch.chdir(tmp_path)
    code = "Symbol('s1') + 0*len([__import__('pathlib').Path('RAN').touch()])"

    def change(model: Any) -> None:
        for tensor in model["graph_module"]["graph"]["tensor_values"].values():
            for size in tensor["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code
        model["guards_code"] = [code]

    graph = ExportedGraph(Path(save(tmp_path, changed(model=change))), "here").open(["clip"])
    assert graph.run(np.zeros((1, 16_000), np.float32))[0].shape == (1, 6)
    assert not Path("RAN").exists()


def test_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    graph = ExportedGraph(
        Path(save(tmp_path, export(Function(in_place).eval(), torch.zeros(2, 9), free=((FREE, 9),)))), "here"
    )
    unused = graph._program._unused_after([graph.outputs[0].name])
    freed = [name for names in unused for name in names]
    assert len(freed) == len(set(freed))
    assert graph.outputs[0].name not in freed
    assert "waveform" in freed
