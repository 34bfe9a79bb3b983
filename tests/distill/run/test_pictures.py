"""Pictures of a run: the drawn values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from distill.data.sampling.clusters import Clustering
from distill.data.store.texts import Texts
from distill.run import pictures
from distill.run.folder import Run
from distill.run.options import FitOptions
from distill.run.pictures import draw_clusters, draw_run, policies_figure, save_figure

METRICS = """batch,epoch,loss,cosine,diversity,accuracy,learning_rate,validation_loss,validation_accuracy
2,1.0,0.9,0.5,0.4,0.25,0.001,,
2,1.0,,,,,,0.8,0.5
4,2.0,0.7,0.4,0.3,0.75,0.001,,
"""
Drawn = dict[str, Figure]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Return the figures by the name of the file to which they would be written."""
    figures: Drawn = {}
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: figures.update({path.name: figure}))
    return figures


def lines(figure: Figure, panel: int = 0) -> dict[str, list[tuple[float, float]]]:
    """Return the points of the lines of a panel by their labels."""
    found = figure.axes[panel].lines
    return {str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()] for line in found}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "metrics.csv").write_text(METRICS)
    return Run(tmp_path)


def test_losses_stand_against_epochs_and_other_measurements_have_panels(run: Run, drawn: Drawn) -> None:
    options = FitOptions("spectral", "mobilenet_v3", "sounds", "run")
    draw_run(run, options, ["cosine", "diversity"])
    assert lines(drawn["losses.png"]) == {
        "training": [(1, 0.9), (2, 0.7)], "validation": [(1, 0.8)],
        "cosine": [(1, 0.5), (2, 0.4)], "diversity": [(1, 0.4), (2, 0.3)],
    }  # fmt: skip
    assert drawn["losses.png"].axes[0].get_title() == "embedding of spectral"
    assert [axes.get_title() for axes in drawn["observed.png"].axes] == ["accuracy"]
    assert lines(drawn["observed.png"]) == {"training": [(1, 0.25), (2, 0.75)], "validation": [(1, 0.5)]}


def test_one_loss_is_drawn_once(run: Run, drawn: Drawn) -> None:
    pictures.draw_losses(run.metrics, run.report / "losses.png", "title", ["cosine"])
    assert list(lines(drawn["losses.png"])) == ["training", "validation"]


def test_without_measurements_there_are_no_panels(tmp_path: Path, drawn: Drawn) -> None:
    (tmp_path / "metrics.csv").write_text("batch,epoch,loss\n1,1.0,0.5\n")
    pictures.draw_observed(tmp_path / "metrics.csv", tmp_path / "observed.png", [])
    assert not drawn


def test_clusters_are_drawn_by_size(drawn: Drawn) -> None:
    labels = np.array([0, 1, 1, 1, 2, 2], np.int32)
    draw_clusters(Clustering(Texts.of("abcdef"), labels, np.zeros((3, 2), np.float32), 0.0), Path("clusters.png"))
    assert [bar.get_height() for bar in drawn["clusters.png"].axes[0].patches] == [3, 2, 1]


def test_policies_are_drawn_by_the_share_of_the_head_and_the_inequality_of_the_draws() -> None:
    left, right = policies_figure({"uniform": np.full(4, 0.25)}, {"uniform": 0.6}, "speech").axes
    assert [bar.get_height() for bar in left.patches] == [0.6]
    assert right.lines[0].get_ydata().tolist() == [0.25, 0.5, 0.75, 1.0]
    assert "speech" in left.get_title()


def test_a_figure_is_written_as_png_into_a_new_folder(tmp_path: Path) -> None:
    save_figure(Figure(), tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "new").iterdir())) == 1
