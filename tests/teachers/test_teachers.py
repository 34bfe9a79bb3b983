"""The contract of every registered teacher."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

import distill
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.objectives.objective import Objective
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher
from distill.training.distiller import Distiller
from distill.training.optimizer import Optimizer
from tests.encoder_dtypes import DTYPES, check_dtype
from tests.own_parts import TinyConvolution
from tests.teachers.tiny import Options, teacher_names, tiny_teacher


@pytest.fixture(params=teacher_names())
def teacher(request: pytest.FixtureRequest, options: Options) -> Teacher:
    return distill.create_teacher(request.param, **options[request.param])


def padded_batch(teacher: Teacher) -> AudioBatch:
    lengths = torch.tensor([int(teacher.sample_rate * seconds) for seconds in (2.0, 1.0826, 0.3125)])
    waveform = torch.randn(3, int(lengths.max())) * 0.1
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0
    return AudioBatch.of(waveform, teacher.sample_rate, lengths)


class OneTeacher(Objective):
    """An objective with one teacher, or none, and a head of its own."""

    def __init__(self, teacher: Teacher | None = None) -> None:
        teachers = {} if teacher is None else {"one": teacher}
        super().__init__(TinyConvolution(), {"one": 1.0}, teachers=teachers)
        self.head = nn.Linear(2, 2)

    def forward(self, batch: AudioBatch) -> dict[str, torch.Tensor]:
        return {name: teacher(batch).clip.sum() for name, teacher in self.teachers.items()}


def test_a_teacher_without_tiny_options_fails_by_name(monkeypatch: pytest.MonkeyPatch, options: Options) -> None:
    monkeypatch.setitem(TEACHERS._builtin, "newcomer", "distill.teachers.newcomer:Newcomer")
    assert set(teacher_names()) == set(distill.list_teachers()) - {"precomputed"}
    with pytest.raises(pytest.fail.Exception, match=r"'newcomer' needs tests/teachers/test_newcomer\.py with TINY"):
        options["newcomer"]


@pytest.mark.parametrize("name", teacher_names())
def test_published_parameter_counts_are_those_of_the_networks(name: str) -> None:
    kind, build = TEACHERS.find(name), tiny_teacher(name).published_network
    assert isinstance(kind, type)
    assert issubclass(kind, Teacher)
    with torch.device("meta"):
        network = nn.Identity() if build is None else build()
    published = 0 if kind.published is None else kind.published.parameters
    assert sum(parameter.numel() for parameter in network.parameters()) == published


class TestEveryTeacher:
    def test_shapes_and_sizes_agree(self, teacher: Teacher) -> None:
        embeddings = teacher(padded_batch(teacher))
        assert embeddings.clip.shape == (3, teacher.clip_dim)
        assert embeddings.frames.shape == (3, len(embeddings.frame_times), teacher.frame_dim)
        assert embeddings.frame_mask.shape == embeddings.frames.shape[:2]
        assert embeddings.frame_mask.any(1).all()
        assert embeddings.logits.shape == (3, len(teacher.labels))
        steps = embeddings.frame_times.diff()
        torch.testing.assert_close(steps, torch.full_like(steps, teacher.frame_hop), atol=1e-4, rtol=0)

    def test_a_padded_batch_gives_what_each_clip_alone_gives(self, teacher: Teacher) -> None:
        batch = padded_batch(teacher)
        together = teacher(batch)
        for row, length in enumerate(batch.lengths.tolist()):
            alone = teacher(AudioBatch.of(batch.waveform[row, :length], teacher.sample_rate))
            inside = together.frame_mask[row]
            assert int(inside.sum()) == int(alone.frame_mask[0].sum())
            frames = alone.frames[0, alone.frame_mask[0]]
            torch.testing.assert_close(together.clip[row], alone.clip[0], atol=1e-4, rtol=0)
            torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-4, rtol=0)
            torch.testing.assert_close(together.frames[row, inside], frames, atol=1e-4, rtol=0)

    def test_long_clips_are_the_mean_of_their_windows(self, teacher: Teacher) -> None:
        teacher.windows = Windows(seconds=1.0, hop=0.0)
        waveform = torch.randn(1, int(2.5 * teacher.sample_rate)) * 0.1
        whole = teacher.embed(waveform, teacher.sample_rate)
        parts = [teacher.embed(part, teacher.sample_rate) for part in waveform.split(teacher.sample_rate, dim=1)]
        expected = (parts[0].clip + parts[1].clip + 0.5 * parts[2].clip) / 2.5
        torch.testing.assert_close(whole.clip, expected, atol=1e-4, rtol=0)
        frames = torch.cat([part.frames[0, part.frame_mask[0] & (part.frame_times < 1.0)] for part in parts])
        torch.testing.assert_close(whole.frames[0, whole.frame_mask[0]], frames, atol=1e-4, rtol=0)
        assert (whole.frame_times.diff() > 0).all()

    def test_frames_of_long_clips_have_no_gap(self, teacher: Teacher) -> None:
        teacher.windows = Windows(seconds=1.0)
        clip = torch.randn(1, int(3.3 * teacher.sample_rate)) * 0.1
        found = teacher.embed(clip, teacher.sample_rate)
        size, hop = teacher.sample_rate, round(teacher.tiling.hop * teacher.sample_rate)
        assert teacher.tiling.hop == 1.0 - teacher.blind_edge
        assert 0 <= teacher.blind_edge <= 2 * teacher.frame_hop
        starts = range(0, clip.shape[1] - size // 10, hop)
        parts = [teacher.embed(clip[:, start : start + size], teacher.sample_rate) for start in starts]
        seconds = [min(size, clip.shape[1] - start) for start in starts]
        expected = sum(n * part.clip for n, part in zip(seconds, parts, strict=True)) / sum(seconds)
        torch.testing.assert_close(found.clip, expected, atol=1e-4, rtol=0)
        steps = found.frame_times[found.frame_mask[0]].diff()
        if teacher.frame_hop:
            assert 0 < steps.min() <= steps.max() < teacher.frame_hop + 1e-3

    def test_an_objective_trains_saves_and_lists_nothing_of_it(self, teacher: Teacher) -> None:
        objective = OneTeacher(teacher)
        alone = OneTeacher()
        assert [name for name, _ in objective.named_parameters()] == [name for name, _ in alone.named_parameters()]
        assert [name for name, _ in objective.named_buffers()] == [name for name, _ in alone.named_buffers()]
        assert [name for name, _ in objective.named_modules()] == [name for name, _ in alone.named_modules()]
        assert objective.state_dict().keys() == alone.state_dict().keys()
        objective.check_teachers()

    def test_it_stays_frozen_whatever_is_added_and_when(self, teacher: Teacher) -> None:
        batch = padded_batch(teacher)
        before = teacher(batch).clip
        objective = OneTeacher(teacher).train()
        teacher.late = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        teacher.late.append(nn.BatchNorm1d(2))
        objective.train().requires_grad_(True)
        after = teacher(batch).clip
        assert after.equal(before)
        assert not after.requires_grad
        assert not any(module.training for module in teacher.modules())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())

    def test_moves_of_an_objective_reach_it_and_not_its_copies(self, teacher: Teacher) -> None:
        objective = OneTeacher(teacher)
        clone = copy.deepcopy(objective)
        clone.to(torch.float64)
        moved, original = (t.state_dict() for t in (clone.teachers["one"], teacher))
        floating = [(moved[key], old) for key, old in original.items() if old.is_floating_point()]
        assert all(new.dtype == torch.float64 and old.dtype != torch.float64 for new, old in floating)
        assert (clone.teachers["one"].dtype, teacher.dtype) == (torch.float64, torch.float32)
        assert clone.teachers["one"].parameter_count() == teacher.parameter_count()

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_it_computes_in_the_dtype_that_it_is_moved_to(self, teacher: Teacher, dtype: torch.dtype) -> None:
        check_dtype(teacher, dtype)

    def test_licence_source_and_weights_are_stated(self, teacher: Teacher) -> None:
        assert teacher.licence != "not stated"
        assert teacher.source != "not stated"
        if "checkpoint" in teacher.spec.options:
            assert teacher.provenance is not None
            assert re.fullmatch(r"[0-9a-f]{64}", teacher.provenance.sha256)

    def test_input_that_is_short_silent_long_or_at_another_rate(self, teacher: Teacher) -> None:
        rate = teacher.sample_rate
        for waveform, sample_rate in (
            (torch.randn(rate // 100), rate),
            (torch.randn(1), rate),
            (torch.zeros(rate // 2), rate),
            (torch.randn(2, rate), rate),  # two clips
            (torch.randn(4_000), 8_000),
            (np.random.default_rng(0).standard_normal(11_025), 22_050),
        ):
            assert teacher.embed(waveform, sample_rate).clip.isfinite().all()
        teacher.windows = Windows(seconds=2.0, hop=1800.0)  # a window every half hour
        three_hours = teacher.embed(torch.zeros(3 * 3600 * rate), rate)
        assert three_hours.clip.isfinite().all()
        assert three_hours.frame_times[-1] > 2.5 * 3600

    @pytest.mark.parametrize(
        ("waveform", "sample_rate", "message"),
        [
            (torch.zeros(0), 16_000, "no samples"),
            (torch.tensor([0.1, torch.nan] * 8000), 16_000, "NaN"),
            (torch.ones(16_000, dtype=torch.int16), 16_000, "divide by 32768"),
            (torch.zeros(1, 2, 16_000), 16_000, "one channel"),
            (torch.zeros(16_000), 0, "sample_rate 0"),
            (torch.zeros(16_000), 44_100.5, "sample_rate 44100.5"),
        ],
    )
    def test_input_that_is_not_valid_is_refused(
        self, teacher: Teacher, waveform: torch.Tensor, sample_rate: int, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            teacher.embed(waveform, sample_rate)


@pytest.mark.parametrize("name", teacher_names(lambda tiny: tiny.span is not None))
@pytest.mark.parametrize("time", [0.0531, 0.7402, 1.3333, 1.6])
def test_an_event_changes_the_frames_whose_span_contains_it(name: str, time: float, options: Options) -> None:
    tiny = tiny_teacher(name)
    assert tiny.span is not None
    teacher = distill.create_teacher(name, **options[name] | tiny.span_options)
    with torch.no_grad():
        for key, parameter in teacher.named_parameters():
            if re.search(r"(attn\.proj|out_proj|o_proj|attention\.output\.dense|pos_conv(?!.*original1))", key):
                parameter.zero_()  # without attention a frame depends on its own span only
    rate = teacher.sample_rate
    waveform = torch.randn(2, 2 * rate)[:1].repeat(2, 1) * 1e-3
    waveform[1, round(time * rate)] += 1.0
    embeddings = teacher.embed(waveform, rate)
    change = (embeddings.frames[1] - embeddings.frames[0]).norm(dim=1)
    if tiny.level_free:
        change = (change - change.median()).clamp(min=0)
    touched = change > 1e-3 * change.max()
    distance = (embeddings.frame_times - time).abs()
    inside = embeddings.frame_mask[0]
    assert touched[inside & (distance < tiny.span / 2 - tiny.blur)].all()
    assert not touched[inside & (distance > tiny.span / 2 + tiny.blur)].any()
    assert touched.any()


def test_a_teacher_as_a_child_of_an_objective_is_refused_where_a_run_begins() -> None:
    objective = OneTeacher()
    objective.wrapped = nn.ModuleList([distill.create_teacher("spectral")])
    with pytest.raises(UserError, match=r"OneTeacher\.wrapped\.0.*super\(\).__init__\(\.\.\., teachers="):
        Distiller(objective, Optimizer(), steps=1)


def test_teachers_of_one_class_get_different_names() -> None:
    class Model2(Teacher):
        sample_rate = 16_000

        def encode(self, batch: AudioBatch) -> Embeddings:
            return Embeddings.of_clip(batch.waveform[:, :4])

    first, second, third = Model2(), Model2(), Model2()
    named = TEACHERS.build_several([first, second, third])
    assert list(named) == ["Model2", "Model2_2", "Model2_3"]
    assert list(named.values()) == [first, second, third]
