"""A row for each window of each clip, instead of one for the clip."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

from distill.data.clips.crop import Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.windows import in_windows
from distill.data.encoders.tiling import Covered, Tiling, Windows
from distill.data.errors import UserError

WHOLE = Crop(seconds=0.0)  # of a window


class Windowed(Protocol):
    """An encoder as far as windows are concerned."""

    @property
    def windows(self) -> Windows:
        """How long clips are cut."""

    @property
    def longest_window(self) -> float:
        """Longest input, in seconds."""

    @property
    def tiling(self) -> Tiling:
        """How long clips are cut: by `windows`, or into windows of 10 s."""

    def covered(self, seconds: float) -> Covered:
        """Return the part of a window of `seconds` that its frames cover."""

    def cut_in(self, windows: Windows) -> None:
        """Set the windows."""


def row_tiling(encoder: Windowed, windows: bool | float | Windows, crop: Crop | None) -> Tiling:
    """Return the windows that are rows.

    Args:
        encoder: Windowed of the windows.
        windows: True: the windows of the encoder, or of 10 s if it has none. A number: the length of the windows in
            seconds. `Windows`: their length and hop.
        crop: The user's crop. It must be None, since windows leave nothing out.

    Raises:
        UserError: the windows do not fit the encoder, or a crop is given.
    """
    if crop is not None:
        raise UserError("--windows embeds all of each clip; omit --crop")
    if windows is True:
        return encoder.tiling
    windows = windows if isinstance(windows, Windows) else _of_seconds(windows)
    _check(windows, encoder)
    return windows.tiling(encoder.covered)


def window_rows(encoder: Windowed, manifest: Manifest, tiling: Tiling) -> Manifest:
    """Return a manifest with a row for each window of each clip, and print their number.

    Args:
        encoder: Windowed of the windows. Its own windows change, so that it encodes a row of their length as it is.
        manifest: The clips.
        tiling: The windows.
    """
    if tiling.seconds <= encoder.windows.seconds:
        encoder.cut_in(replace(encoder.windows, hop=0.0))
    cut = in_windows(manifest, tiling.seconds, tiling.hop, tiling.counts)
    print(f"windows: {len(cut):,} of {tiling.seconds:g} s, one every {tiling.hop:g} s, from {len(manifest):,} clips")
    return cut


def _of_seconds(seconds: float) -> Windows:
    try:
        return Windows(float(seconds))
    except ValueError as error:
        raise UserError(f"--windows {seconds:g}: {error}") from error


def _check(windows: Windows, encoder: Windowed) -> None:
    """Raise UserError for windows that cannot be rows of an encoder."""
    if not 0 < windows.seconds <= encoder.longest_window:
        most = f" and at most {encoder.longest_window:g}" if encoder.longest_window < math.inf else ""
        raise UserError(f"--windows {windows.seconds:g}: must be above 0{most}, in seconds")
    if windows.pooling != Windows().pooling:
        raise UserError(f"--windows.pooling {windows.pooling}: each window is a row, and nothing is pooled")
