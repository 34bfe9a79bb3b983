"""Figures of codes and of reconstructed spectrograms: the drawn values."""

from __future__ import annotations

import numpy as np
import pytest

from distill.objectives.parts.figures import codes_figure, spectrograms_figure


def test_bars_are_the_shares_of_the_codes_in_descending_order() -> None:
    axes = codes_figure(np.array([1.0, 6.0, 0.0, 3.0]), "use").axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.6, 0.3, 0.1, 0.0])
    assert axes.lines[0].get_ydata()[0] == 0.25  # uniform use
    assert axes.get_title() == "use"


def test_codes_that_were_never_used_have_no_share() -> None:
    assert not any(bar.get_height() for bar in codes_figure(np.zeros(3), "").axes[0].patches)


@pytest.mark.parametrize(("clips", "columns"), [(2, 2), (6, 4)])
def test_spectrograms_stand_above_their_reconstructions(clips: int, columns: int) -> None:
    original = np.random.default_rng(0).standard_normal((clips, 5, 3)).astype(np.float32)
    figure = spectrograms_figure(original, original + 1, hop=0.02)
    assert len(figure.axes) == 2 * columns
    upper, lower = figure.axes[1].images[0], figure.axes[columns + 1].images[0]
    np.testing.assert_array_equal(upper.get_array(), original[1].T)
    np.testing.assert_array_equal(lower.get_array(), original[1].T + 1)
    assert upper.get_extent() == pytest.approx([0, 0.1, 0, 3])  # seconds and bands
    assert [axes.get_title() for axes in figure.axes[::columns]] == ["original", "reconstruction"]
