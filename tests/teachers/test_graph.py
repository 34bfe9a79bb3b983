"""What files of graphs state, and the forms of their input."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.teachers.graph import GraphFacts, InputForm, Port, input_form

FULL = GraphFacts(
    sample_rate=32_000, output="clip", frames="frames", logits="logits", labels=("a, b", "ü"), layout="batch,samples",
    level="peak=0.25", window_seconds=0.0, shortest_seconds=0.5, longest_seconds=29.96, frame_hop=0.02,
    first_frame=0.0125, licence="MIT",
)  # fmt: skip


def test_facts_are_read_as_they_were_written() -> None:
    assert GraphFacts.of(FULL.as_metadata(), "here") == FULL
    assert GraphFacts.of({}, "here") == GraphFacts()
    assert GraphFacts().as_metadata() == {}


def test_names_of_other_programs_are_known() -> None:
    stated = {"sampling_rate": "48000", "window_size_s": "3", "license": "MIT", "author": "nobody"}
    assert GraphFacts.of(stated, "here") == GraphFacts(sample_rate=48_000, window_seconds=3.0, licence="MIT")


@pytest.mark.parametrize(
    ("key", "text"),
    [("sample_rate", "fast"), ("sample_rate", "0"), ("sample_rate", "44100.5"), ("window_seconds", "-1"),
     ("frame_hop", "inf"), ("frame_hop", "nan"), ("labels", "a"), ("labels", '"a"')],
)  # fmt: skip
def test_impossible_metadata_are_refused(key: str, text: str) -> None:
    with pytest.raises(UserError, match=f"here: its metadata state {key} '"):
        GraphFacts.of({key: text}, "here")


def test_options_count_more_than_the_file_and_end_what_belongs_to_its_own_outputs() -> None:
    other = FULL.with_options(sample_rate=8_000, output="inner", level=None)
    assert (other.sample_rate, other.output, other.level) == (8_000, "inner", "peak=0.25")
    assert (other.frames, other.frame_hop, other.first_frame) == (None, None, None)
    assert (other.logits, other.labels) == ("logits", FULL.labels)
    assert FULL.with_options(logits="scores").labels is None
    assert FULL.with_options() == FULL


@pytest.mark.parametrize(
    "option",
    [{"sample_rate": 0}, {"layout": "samples,batch"}, {"level": "loud"}, {"level": "peak=0"}, {"level": "peak=inf"},
     {"level": "peak"}, {"level": "none=1"}],
)  # fmt: skip
def test_impossible_options_are_refused(option: dict[str, int | str]) -> None:
    with pytest.raises(UserError, match=f"--teacher.{next(iter(option))}"):
        GraphFacts().with_options(**option)


@pytest.mark.parametrize(
    ("shape", "stated", "expected"),
    [
        (("n",), {}, ("samples", 1, None, 10.0)),
        ((32_000,), {}, ("samples", 1, 32_000, 2.0)),
        (("b", "n"), {}, ("batch,samples", None, None, 10.0)),
        ((1, "n"), {"window_seconds": 0.0}, ("batch,samples", 1, None, 0.0)),
        (("b", 48_000), {"window_seconds": 9.0}, ("batch,samples", None, 48_000, 3.0)),
        ((4, 1, 48_000), {}, ("batch,1,samples", 4, 48_000, 3.0)),
        (("b", "c", "n"), {}, ("batch,1,samples", None, None, 10.0)),
        ((1, "n"), {"longest_seconds": 5.0}, ("batch,samples", 1, None, 5.0)),
        (None, {"layout": "samples"}, ("samples", 1, None, 10.0)),
        (None, {"layout": "batch,1,samples"}, ("batch,1,samples", None, None, 10.0)),
    ],
)  # fmt: skip
def test_the_form_of_an_input(shape: tuple[int | str, ...] | None, stated: dict[str, float], expected: object) -> None:
    form = input_form(Port("x", "float", shape), GraphFacts(sample_rate=16_000, **stated), "here")  # type: ignore[arg-type]
    assert (form.layout, form.batch, form.samples, form.window_seconds) == expected


@pytest.mark.parametrize(
    ("shape", "stated", "message"),
    [
        (("b", "n"), {"sample_rate": None}, r"--teacher\.sample_rate HZ is required.*here"),
        (None, {}, r"--teacher\.layout is required.*here"),
        (("b", "n"), {"layout": "samples"}, r"--teacher\.layout samples: .*here"),
        (("b", 64, "n"), {}, r"must have the shape .*here"),
        (("b", 1, 128, "n"), {}, r"must have the shape .*here"),
        ((), {}, r"must have the shape .*here"),
        ((1, 64), {}, r"4 ms is too short.*here"),
    ],
)  # fmt: skip
def test_an_unknown_or_impossible_form_is_refused(shape: object, stated: dict[str, object], message: str) -> None:
    facts = GraphFacts(**{"sample_rate": 16_000, **stated})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        input_form(Port("x", "float", shape), facts, "here")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layout", "batch", "expected"),
    [("samples", 1, (5,)), ("batch,samples", None, (1, 5)), ("batch,samples", 3, (3, 5)),
     ("batch,1,samples", 2, (2, 1, 5))],
)  # fmt: skip
def test_clips_are_arranged(layout: str, batch: int | None, expected: tuple[int, ...]) -> None:
    found = InputForm(16_000, layout, batch, None, None, 10.0).arranged(np.ones((1, 5), np.float32))
    assert found.shape == expected
    assert found.sum() == 5
