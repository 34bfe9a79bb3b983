"""What the readers make of the lists; `test_layouts` covers each of them as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.published import readers
from distill.data.clips.published.lists import Lists
from tests.data.clips.published import trees
from tests.data.clips.published.trees import sound, table


def test_the_readers_of_lists_open_no_audio(tmp_path: Path) -> None:
    trees.fsd50k(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    assert [clip.name for clip in readers.fsd50k(Lists(tmp_path))] == [
        "FSD50K.dev_audio/1.wav",
        "FSD50K.dev_audio/2.wav",
        "FSD50K.eval_audio/3.wav",
    ]


@pytest.mark.parametrize("inner", ["", "audio"])
def test_the_folder_of_the_words(inner: str, tmp_path: Path) -> None:
    table(tmp_path / "testing_list.txt", "yes/b.wav", "yes/a.wav")
    sound(tmp_path / inner / "yes/a.wav")
    assert readers.word_folder(tmp_path) == tmp_path / inner


def test_names_of_audioset_in_the_order_in_which_they_are_looked_for(tmp_path: Path) -> None:
    trees.audioset(tmp_path)
    clip = next(readers.audioset(Lists(tmp_path), ("balanced_train_segments.csv",)))
    assert clip.stems is not None
    names = list(clip.stems())
    assert names[:4] == ["Y-A", "-A", "-A_30_40", "-A_30.000_40.000"]
    assert len(set(names)) == len(names)
    assert list(clip.stems()) == names


def test_silence_is_cut_from_the_noise_and_broken_noise_is_left_out(tmp_path: Path) -> None:
    trees.speech_commands(tmp_path)
    (tmp_path / readers.NOISE / "broken.wav").write_bytes(b"RIFF")
    silence = [clip for clip in readers.twelve_commands(Lists(tmp_path)) if clip.labels == ("_silence_",)]
    assert [clip.window for clip in silence] == [(float(second), 1.0) for second in range(10)]
    assert {clip.name for clip in silence} == {"_background_noise_/pink.wav"}


def test_words_of_speech_commands_are_the_folders_one_level_below(tmp_path: Path) -> None:
    trees.speech_commands(tmp_path)
    sound(tmp_path / "yes/deeper/d_nohash_0.wav")
    sound(tmp_path / "top.wav")
    assert {clip.labels[0] for clip in readers.speech_commands(Lists(tmp_path))} == {"yes", "zero"}
    assert len(list(readers.speech_commands(Lists(tmp_path)))) == 6
