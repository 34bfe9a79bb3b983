"""Linear layers with the layout of oneDNN compute what plain ones do, and step aside where they must."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distill.data.encoders import packed as packing
from distill.data.encoders.packed import PackedLinear, pack, unpack

needs_onednn = pytest.mark.usefixtures("on_amd")


@pytest.fixture
def on_amd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack on any processor: oneDNN runs on all of them."""
    monkeypatch.setattr(packing, "gains", lambda: True)


def network() -> nn.Module:
    torch.manual_seed(0)
    shared = nn.Linear(24, 24, bias=False)
    return nn.Sequential(nn.Linear(16, 24), nn.GELU(), shared, shared, nn.Linear(24, 8)).eval().requires_grad_(False)


def packed(plain: nn.Module) -> nn.Module:
    """Return a packed copy that shares the parameters."""
    network = copy.deepcopy(plain, {id(parameter): parameter for parameter in plain.parameters()})
    pack(network)
    return network


@needs_onednn
@pytest.mark.parametrize("shape", [(16,), (3, 16), (2, 5, 16), (0, 16)])
def test_results_are_those_of_plain_layers(shape: tuple[int, ...]) -> None:
    plain = network()
    fast, inputs = packed(plain), torch.randn(shape)
    assert next(fast.children()).__class__ is PackedLinear
    torch.testing.assert_close(fast(inputs), plain(inputs), atol=1e-6, rtol=1e-6)
    with torch.inference_mode():
        torch.testing.assert_close(fast(inputs), plain(inputs), atol=1e-6, rtol=1e-6)


@needs_onednn
def test_a_layersand_its_parameters_stay_the_same_objects() -> None:
    layers = network()
    objects = [*layers.modules(), *layers.parameters()]
    names = list(layers.state_dict())
    pack(layers)
    assert list(map(id, [*layers.modules(), *layers.parameters()])) == list(map(id, objects))
    assert list(layers.state_dict()) == names
    assert all(isinstance(layer, nn.Linear) for layer in layers if not isinstance(layer, nn.GELU))


@needs_onednn
def test_operations_are_counted_as_those_of_plain_layers() -> None:
    plain, counts = network(), []
    for layers in (plain, packed(plain)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layers(torch.randn(3, 16))
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 3 * (16 * 24 + 2 * 24 * 24 + 24 * 8)


@needs_onednn
def test_changed_weights_are_laid_out_again() -> None:
    plain, inputs = network(), torch.randn(3, 16)
    fast = packed(plain)
    fast(inputs)
    for parameter in plain.parameters():
        parameter.mul_(2)
    torch.testing.assert_close(fast(inputs), plain(inputs))
    fast.load_state_dict({name: value / 4 for name, value in plain.state_dict().items()})
    torch.testing.assert_close(fast(inputs), plain(inputs))
    fast[0].weight.data = torch.zeros_like(fast[0].weight)
    torch.testing.assert_close(fast(inputs), fast(torch.zeros(3, 16)))


@needs_onednn
def test_gradients_flow_as_through_plain_layers() -> None:
    plain, inputs = network().requires_grad_(True), torch.randn(3, 16, requires_grad=True)
    fast = packed(plain)
    gradients = [torch.autograd.grad(net(inputs).sum(), [inputs, *net.parameters()]) for net in (fast, plain)]
    torch.testing.assert_close(*gradients)
    learned = [torch.autograd.grad(net(inputs.detach()).sum(), [*net.parameters()]) for net in (fast, plain)]
    torch.testing.assert_close(*learned)
    frozen = network()
    (ours,) = torch.autograd.grad(packed(frozen)(inputs).sum(), inputs)
    torch.testing.assert_close(ours, torch.autograd.grad(frozen(inputs).sum(), inputs)[0])


@needs_onednn
def test_autocast_gives_its_type() -> None:
    plain, inputs = network(), torch.randn(3, 16)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = packed(plain)(inputs), plain(inputs)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)
    torch.testing.assert_close(packed(plain)(inputs), plain(inputs), atol=1e-6, rtol=1e-6)
    assert packed(plain).double()(inputs.double()).dtype == torch.float64


@needs_onednn
def test_a_packed_layersis_copied_and_exported() -> None:
    plain, inputs = network(), torch.randn(3, 16)
    fast = packed(plain)
    fast(inputs)
    torch.testing.assert_close(copy.deepcopy(fast)(inputs), plain(inputs), atol=1e-6, rtol=1e-6)
    program = torch.export.export(fast, (inputs,))
    assert "mkldnn" not in str(program.graph)
    torch.testing.assert_close(program.module()(inputs), plain(inputs))


@needs_onednn
def test_unpacked_layers_are_plain_again() -> None:
    plain = network()
    again = packed(plain)
    unpack(again)
    assert [type(layer) for layer in again] == [type(layer) for layer in plain]
    assert again[2] is again[3]
    assert {id(tensor) for tensor in again.parameters()} == {id(tensor) for tensor in plain.parameters()}
    assert not any(module.training for module in [*packed(plain).modules(), *again.modules()])


@needs_onednn
def test_weights_above_the_limit_are_not_held_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = network()
    monkeypatch.setattr(packing, "_MAX_BYTES", 4 * (16 * 24 + 24 * 24 + 24 * 8))
    assert any(isinstance(layer, PackedLinear) for layer in packed(plain).modules())
    monkeypatch.setattr(packing, "_MAX_BYTES", 4 * (16 * 24 + 24 * 24 + 24 * 8) - 1)
    assert not any(isinstance(layer, PackedLinear) for layer in packed(plain).modules())


def test_nothing_is_packed_where_it_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = network()
    monkeypatch.setattr(packing, "gains", lambda: False)
    assert not any(isinstance(layer, PackedLinear) for layer in packed(plain).modules())
