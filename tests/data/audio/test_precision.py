"""Front-ends keep float32, whatever the network around them does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.data.audio.kaldi import KaldiFbank
from distill.data.audio.mel import DecibelMel, LogMel, PasstMel

FRONT_ENDS = {
    "LogMel": lambda: LogMel(16_000, window=400, hop=160, bands=64, low=50.0, high=8_000.0, offset=1e-6),
    "DecibelMel": DecibelMel,
    "PasstMel": PasstMel,
    "KaldiFbank": KaldiFbank,
}


@pytest.mark.parametrize("move", ["half", "bfloat16", "double"])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_move_of_the_network_changes_no_spectrum(name: str, move: str) -> None:
    network = nn.Sequential(FRONT_ENDS[name](), nn.Linear(2, 2))
    waveform = torch.randn(1, 32_000) * 0.1
    expected = network[0](waveform)
    getattr(network, move)()
    assert network[1].weight.dtype != torch.float32
    assert network[0](waveform).equal(expected)


def test_a_move_to_another_device_is_followed() -> None:
    front_end = KaldiFbank().to("meta", torch.float16)
    assert {buffer.device.type for buffer in front_end.buffers()} == {"meta"}
    assert {buffer.dtype for buffer in front_end.buffers() if buffer.is_floating_point()} == {torch.float32}
