"""The default recipe follows the data, the teacher and the student."""

from __future__ import annotations

import pytest

import distill
from distill.data.clips.dataset import Crop
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.data.sampling.weights import Sampling
from distill.run.options import FitOptions
from distill.run.recipe import Plan, budget_seconds, plan, steps_of_budget, training_seconds
from distill.training.optimizer import Optimizer
from tests.own_parts import Loudness, TinyConvolution


def chosen(clips: int, student: distill.Student | None = None, **options: object) -> Plan:
    return plan(FitOptions(**options), clips, {"loudness": Loudness()}, student or TinyConvolution())


@pytest.mark.parametrize(
    ("clips", "steps", "batch_size", "held_out"),
    [(10, 600, 32, 2), (96, 600, 32, 19), (1000, 1160, 32, 100), (3000, 2000, 32, 150), (1_000_000, 36520, 128, 2000)],
)
def test_amounts_follow_the_number_of_clips(clips: int, steps: int, batch_size: int, held_out: int) -> None:
    amounts = chosen(clips)
    assert (amounts.steps, amounts.batch_size) == (steps, batch_size)
    assert round(clips * amounts.validation) == held_out


def test_every_clip_is_drawn_at_least_once_on_average() -> None:
    amounts = chosen(1_000_000_000)
    assert amounts.steps * amounts.batch_size >= 1_000_000_000


def test_given_amounts_are_kept_and_have_no_reason() -> None:
    amounts = chosen(
        5000, crop={"seconds": 2}, batch_size=7, validation=0.3, max_steps=11, optimizer=Optimizer(1e-4, 0.1)
    )
    assert amounts == Plan(Crop(2), 7, 0.3, 11, True, ())


def test_epochs_leave_the_number_of_steps_open() -> None:
    assert chosen(5000, epochs=3).steps == 0


@pytest.mark.parametrize(("window", "seconds"), [(3.0, 3.0), (30.0, 10.0), (0.0, 10.0)])
def test_the_crop_is_the_window_of_the_teacher(window: float, seconds: float) -> None:
    teacher = Loudness()
    teacher.windows = Windows(seconds=window)
    assert plan(FitOptions(), 100, {"loudness": teacher}, TinyConvolution()).crop == Crop(seconds, "centre")
    assert plan(FitOptions(live=True), 100, {"loudness": teacher}, TinyConvolution()).crop == Crop(seconds, "random")


@pytest.mark.parametrize(
    ("student", "given", "sorts"),
    [
        ("hear_tokenizer", None, True),
        ("hear_tokenizer", False, False),
        ("mobilenet_v3", None, False),
        ("mobilenet_v3", True, True),
        ("cnn", None, True),
        ("cnn", False, False),
    ],
)
def test_batches_are_sorted_by_length_as_the_options_or_the_student_say(
    student: str, given: bool | None, sorts: bool
) -> None:
    assert chosen(100, distill.create_student(student), sampling=Sampling(by_length=given)).by_length == sorts


def test_a_student_may_limit_the_crop() -> None:
    student = distill.create_student("hear_tokenizer", layers=1, hidden=8, intermediate=8, heads=1)
    assert plan(FitOptions(), 100, {}, student).crop == Crop(6.0, "random")


def test_learning_rate_and_weight_decay_are_those_of_the_kind_of_student() -> None:
    student = TinyConvolution()
    student.learning_rate, student.weight_decay = 7e-3, 0.2
    applied = chosen(100, student).applied(FitOptions(), student).optimizer
    assert (applied.learning_rate, applied.weight_decay) == (7e-3, 0.2)
    given = chosen(100, student).applied(FitOptions(optimizer=Optimizer(1e-3, 0.0)), student).optimizer
    assert (given.learning_rate, given.weight_decay) == (1e-3, 0.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("20min", 1200), ("2h", 7200), ("90s", 90), ("1h30min", 5400), ("1.5 h", 5400), ("5m", 300)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["20", "soon", "20min!", "-3h", "2 days"])
def test_another_text_is_no_budget(text: str) -> None:
    with pytest.raises(UserError, match="20min"):
        budget_seconds(text)


def test_a_budget_becomes_steps() -> None:
    assert training_seconds("20min", spent=170) == pytest.approx(0.9 * 1000)
    assert steps_of_budget(100.0, 0.1, 3000, 32) == 1000
    assert steps_of_budget(1e9, 0.1, 3000, 32) == 20 * 2000
    assert steps_of_budget(1.0, 0.1, 3000, 32) == 10
    assert steps_of_budget(-5.0, 0.1, 3000, 32) == 1
