"""BC-ResNet: broadcasted residual learning, for keyword spotting with very few parameters.

Kim et al. 2021, "Broadcasted Residual Learning for Efficient Keyword Spotting" (arXiv 2106.04140).
Letters of shapes: B batch, C channels, F frequencies, M mel bands, T time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.data.errors import UserError
from distill.students.layers import ConvolutionLayers, mask_padding, valid_steps
from distill.students.log_mel import LogMelStudent

WIDTHS = (1.0, 1.5, 2.0, 3.0, 6.0, 8.0)  # of the paper's table 3
BANDS = 40
_SUB_BANDS = 5
_DROPOUT = 0.1

# The stages of the paper's table 1: channels at width 1, blocks, stride in frequency. Stage i has the dilation 2 ** i.
_STAGES = ((8, 2, 1), (12, 2, 2), (16, 4, 2), (20, 4, 1))


class BCResNet(LogMelStudent):
    """BC-ResNet: 53 k parameters at width 3, 318 k at width 8, and a frame every 16 ms.

    Most convolutions have one dimension, time, and their output is added to all frequencies. Their input is the mean
    over frequency. A frame is the output before the paper's average pooling and classifier. A clip is the mean of its
    frames. The structure is the paper's, and equals the authors' code. The front-end is S-SONDO's with the paper's 40
    mel bands: 32 kHz, and a hop of 16 ms. The paper's has 16 kHz and a hop of 10 ms.

    Args:
        width: Multiplier of all channels, the paper's tau: 1, 1.5, 2, 3, 6 or 8.
        sample_rate: Sample rate of the input, in Hz.
        low_hz: Lower edge of the first mel band, in Hz.
        high_hz: Upper edge of the last mel band, in Hz. None means half of the sample rate.
    """

    time_stride = 1

    def __init__(
        self,
        width: float = 3.0,
        sample_rate: int = 32_000,
        low_hz: float = 50.0,
        high_hz: float | None = None,
    ) -> None:
        super().__init__(sample_rate, low_hz, high_hz, bands=BANDS)
        if width not in WIDTHS:
            raise UserError(f"--student.width {width:g}: must be one of {', '.join(f'{known:g}' for known in WIDTHS)}")
        channels = int(16 * width)
        self.head = ConvolutionLayers(
            nn.Conv2d(1, channels, 5, (2, 1), padding=2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.blocks = nn.ModuleList()
        for stage, (multiple, blocks, stride) in enumerate(_STAGES):
            for block in range(blocks):
                outputs = int(multiple * width)
                self.blocks.append(_Block(channels, outputs, stride if block == 0 else 1, dilation=2**stage))
                channels = outputs
        outputs = int(32 * width)
        self.last = ConvolutionLayers(
            # All frequencies become one.
            nn.Conv2d(channels, channels, 5, padding=(0, 2), groups=channels, bias=False),
            nn.Conv2d(channels, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode (B, M, T). Return frames (B, T, C), and the number of valid frames of each clip (B,)."""
        x = self.head(mask_padding(mel.unsqueeze(1), valid))
        for block in self.blocks:
            x = block(x, valid)
        x = self.last(mask_padding(x, valid))
        return x.squeeze(2).transpose(1, 2), valid_steps(valid, x)


class _Block(nn.Module):
    """A block whose temporal part is broadcast to all frequencies (the paper's figure 2 and equation 3).

    A transition block changes the number of channels first, and has no residual connection.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.transition = inputs != outputs
        frequency: list[nn.Module] = []
        if self.transition:
            frequency += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        frequency += [
            nn.Conv2d(outputs, outputs, (3, 1), (stride, 1), padding=(1, 0), groups=outputs, bias=False),
            _SubSpectralNorm(outputs),
        ]
        self.frequency = ConvolutionLayers(*frequency)
        self.time = ConvolutionLayers(
            nn.Conv2d(
                outputs, outputs, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=outputs, bias=False
            ),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.Dropout2d(_DROPOUT),
        )

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        y = self.frequency(x)
        z = y + self.time(mask_padding(y.mean(2, keepdim=True), valid))
        return torch.relu(z if self.transition else z + x)


class _SubSpectralNorm(nn.Module):
    """Batch normalisation with other statistics and weights in each of 5 sub-bands (Chang et al. 2021)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels * _SUB_BANDS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, F, T), where F is a multiple of 5."""
        parts = x.unflatten(2, (_SUB_BANDS, -1)).flatten(1, 2)
        return self.norm(parts).unflatten(1, (-1, _SUB_BANDS)).flatten(2, 3)
