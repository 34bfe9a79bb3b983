"""The weights of teachers by clip: domains, and dropped teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.objectives.parts.augmentation import Mix
from distill.objectives.parts.clip_weights import ClipWeights

TEACHERS = ("speech", "music", "sound")
DOMAINS = {"talk": "speech", "song": "music", "choir": "music", "rain": "sound"}
LOSSES = torch.tensor([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])


def manifest(*domains: str) -> Manifest:
    rows = [Row(f"{place}.wav", Path("x"), domain=domain) for place, domain in enumerate(domains)]
    return Manifest(Path("clips.csv"), rows)


def weights(domains: dict[str, str] | None = DOMAINS, weight: float = 10.0, dropping: float = 0.0) -> ClipWeights:
    torch.manual_seed(0)
    return ClipWeights(TEACHERS, domains, weight, dropping)


def test_the_teacher_of_the_domain_weighs_ten_twelfths_of_three() -> None:
    part = weights()
    part.read_clips(manifest("song", "", "talk", "choir"))
    found = part.by_domain(["0.wav", "1.wav", "2.wav", "3.wav", "elsewhere.wav"])
    own, other, even = 10 / 12, 1 / 12, 1 / 3
    expected = [[other, own, other], [even] * 3, [own, other, other], [other, own, other], [even] * 3]
    torch.testing.assert_close(found, torch.tensor(expected))
    views = part.by_domain(["0.wav@view3", "1.wav", "2.wav@view1", "3.wav@view12", "elsewhere.wav@view1"])
    torch.testing.assert_close(views, found)


def test_clips_of_unknown_domains_weigh_all_teachers_alike() -> None:
    for part in (weights(), weights(None, dropping=0.5).eval()):
        torch.testing.assert_close(part(["0.wav"] * 4, LOSSES), torch.full((4, 3), 1 / 3))


def test_a_mixture_has_mixed_weights() -> None:
    part = weights(weight=4.0)
    part.read_clips(manifest("talk", "song"))
    mix = Mix(torch.tensor([1, 0]), torch.tensor([0.75, 0.5]))
    expected = [[0.75 * 4 / 6 + 0.25 / 6, 0.75 / 6 + 0.25 * 4 / 6, 1 / 6], [2.5 / 6, 2.5 / 6, 1 / 6]]
    torch.testing.assert_close(part.by_domain(["0.wav", "1.wav"], mix), torch.tensor(expected))


def test_the_teacher_with_the_highest_loss_is_never_dropped() -> None:
    certain = weights(None, dropping=1.0)
    torch.testing.assert_close(certain(["a", "b", "c", "d"], LOSSES), torch.eye(3)[[0, 1, 2, 1]])


def test_others_are_dropped_at_their_rate_and_the_weights_still_sum_to_one() -> None:
    part, clips = weights(None, dropping=0.3), 4_000
    losses = LOSSES.repeat(clips // 4, 1)
    found = part([f"{place}.wav" for place in range(clips)], losses)
    torch.testing.assert_close(found.sum(1), torch.ones(clips))
    others = found[losses < 3]
    assert float((others == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert set(np.round(found[found > 0].unique().tolist(), 4)) == {1.0, 0.5, 0.3333}


def test_draws_depend_on_seed_step_and_clip_alone() -> None:
    ids = [f"{place}.wav" for place in range(64)]
    part, again = weights(None, dropping=0.5), weights(None, dropping=0.5)
    torch.rand(7)  # the generator itself is not read
    first = part._draws(ids)
    np.testing.assert_array_equal(first, again._draws(ids))
    np.testing.assert_array_equal(first[32:], again._draws(ids[32:]))  # as in another process
    again.step.fill_(1)
    assert not np.isin(first, again._draws(ids)).any()
    again.load_state_dict(part.state_dict())
    np.testing.assert_array_equal(first, again._draws(ids))
    torch.manual_seed(1)
    assert not np.isin(first, ClipWeights(TEACHERS, None, 10, 0.5)._draws(ids)).any()


def test_nothing_is_dropped_in_evaluation() -> None:
    part = weights(None, dropping=1.0).eval()
    torch.testing.assert_close(part(["a", "b", "c", "d"], LOSSES), torch.full((4, 3), 1 / 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": {"song": "musik"}}, "--objective.domains: 'song' names no teacher 'musik'; did you mean 'music'"),
        ({"weight": 0.0}, "--objective.domain_weight 0: must be above 0"),
        ({"dropping": 1.5}, "--objective.teacher_dropping 1.5: must be from 0 to 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        weights(**options)  # type: ignore[arg-type]


def test_a_domain_of_the_data_must_have_a_teacher() -> None:
    with pytest.raises(UserError, match=r"no teacher for the domain 'sing' in clips\.csv; did you mean 'song'"):
        weights().read_clips(manifest("song", "", "sing"))
    with pytest.raises(UserError, match=r"clips\.csv names no domains; add a column `domain`"):
        weights().read_clips(manifest("", ""))
    used = manifest("song", "sing").take(np.array([0]))
    weights().read_clips(used)  # no clip has the other
    weights(None, dropping=0.5).read_clips(manifest("sing"))
