"""The sounds of tars become clips with labels and splits, and broken tars cost their own clips only."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from distill.data.audio.read import read
from distill.data.clips.containers.index import INDEX
from distill.data.clips.containers.tars import read_tars
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.clips.stamps import FileStates
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from distill.data.sampling.batches import Draws
from distill.data.store.stamps import compare
from distill.objectives.parts.clip_weights import ClipWeights
from tests.data.clips.containers.tars import samples, sound, write_tar


def clips(folder: Path, *tars: Path, label: str = "", split: str = "") -> Manifest:
    return read_tars(folder, [tar.relative_to(folder).as_posix() for tar in tars], label, split)


def labels(manifest: Manifest) -> list[tuple[str, ...]]:
    return [row.labels for row in manifest.labelled().rows]


def test_a_sound_is_read_from_its_tar(tmp_path: Path) -> None:
    forms = {"0.flac": "FLAC", "1.wav": "WAV", "2.aiff": "AIFF"}
    sounds = {name: sound(300 + number, form=form) for number, (name, form) in enumerate(forms.items())}
    manifest = clips(tmp_path, write_tar(tmp_path / "s" / "a.tar", sounds))
    assert list(manifest.ids) == ["s/a.tar/0.flac", "s/a.tar/1.wav", "s/a.tar/2.aiff"]
    for row, content in zip(manifest.rows, sounds.values(), strict=True):
        found, rate = read(row.path, part=row.part)
        assert rate == 16_000
        assert np.array_equal(np.asarray(found).ravel(), samples(content))


def test_one_tar_needs_no_folder(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"dog/1.flac": "x", "cat/2.flac": "y"})
    write_tar(tmp_path / "other.tar", {"3.flac": "z"})
    manifest = read_tars(path, [])
    assert list(manifest.ids) == ["dog/1.flac", "cat/2.flac"]
    assert (
        summary_of(manifest.labelled()) == f"data: tar {path}: 2 clips, 2 classes (the names of the folders), no splits"
    )


LABELS = {
    "json": ({"a.json": '{"label": "dog"}', "b.json": '{"label": "cat"}'}, "", [("dog",), ("cat",)]),
    "a comma in one label": ({"a.json": '{"label": "Male speech, man"}'}, "", [("Male speech, man",), ()]),
    "several": (
        {"a.json": '{"labels": ["dog", "cat"]}', "b.json": '{"labels": "cow;hen"}'},
        "",
        [("dog", "cat"), ("cow", "hen")],
    ),
    "cls": ({"a.cls": "3", "b.cls": "11"}, "", [("3",), ("11",)]),
    "label": ({"a.label": "dog", "b.label": "cat"}, "", [("dog",), ("cat",)]),
    "names before numbers": ({"a.cls": "3", "a.json": '{"category": "dog"}'}, "", [("dog",), ()]),
    "another field": ({"a.json": '{"who": "Ann"}', "b.json": '{"who": 7}'}, "who", [("Ann",), ("7",)]),
    "txt is a caption": ({"a.txt": "a dog barks"}, "", [(), ()]),
    "txt if it is named": ({"a.txt": "dog", "b.txt": "cat"}, "txt", [("dog",), ("cat",)]),
    "null": ({"a.json": '{"label": null}', "b.json": '{"label": "cat"}'}, "", [(), ("cat",)]),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_lie_beside_the_sounds(case: str, tmp_path: Path) -> None:
    beside, label, expected = LABELS[case]
    manifest = clips(tmp_path, write_tar(tmp_path / "1.tar", {"a.flac": "x", "b.flac": "y", **beside}), label=label)
    assert [row.labels for row in manifest.rows] == expected


def test_times_beside_a_sound_are_not_windows(tmp_path: Path) -> None:
    record = json.dumps({"label": "dog", "start": 30, "end": 40, "duration": 10, "id": "youtube"})
    row = clips(tmp_path, write_tar(tmp_path / "1.tar", {"a.flac": "x", "a.json": record})).rows[0]
    assert (row.id, row.start, row.duration) == ("1.tar/a.flac", 0, None)


def test_folders_inside_a_tar_are_labels_and_splits(tmp_path: Path) -> None:
    names = ["train/dog/1.wav", "train/cat/2.wav", "test/dog/3.wav"]
    manifest = clips(tmp_path, write_tar(tmp_path / "set.tar", {f"ESC/{name}": "x" for name in names}))
    assert labels(manifest) == [("ESC/dog",), ("ESC/cat",), ("ESC/dog",)]
    assert manifest.splits.tolist() == ["training", "training", "test"]


def test_a_tar_is_no_class(tmp_path: Path) -> None:
    manifest = clips(tmp_path, *(write_tar(tmp_path / f"{n}.tar", {f"{n}.wav": "x"}) for n in range(2)))
    assert labels(manifest) == [(), ()]


def test_splits_are_those_beside_the_sounds_or_of_the_tars(tmp_path: Path) -> None:
    tars = [
        write_tar(tmp_path / "train-0.tar", {"a.wav": "x", "b.wav": "y"}),
        write_tar(tmp_path / "test" / "0.tar", {"c.wav": "x"}),
        write_tar(tmp_path / "set_val_0001.tar", {"d.wav": "x"}),
    ]
    assert clips(tmp_path, *tars).splits.tolist() == ["training", "training", "test", "validation"]
    record = '{"fold": 3, "part": "eval"}'
    path = write_tar(tmp_path / "train-1.tar", {"a.wav": "x", "a.json": record})
    assert clips(tmp_path, path).splits.tolist() == ["3"]
    assert clips(tmp_path, path, split="part").splits.tolist() == ["test"]


def test_domains_are_those_beside_the_sounds(tmp_path: Path) -> None:
    beside = {"a": '{"Domain": " street ", "x": 1}', "b": '{"Domain": 3}', "c": '{"Domain": null}', "d": '{"x": 1}'}
    members: dict[str, bytes | str] = {}
    for name, record in beside.items():
        members |= {f"{name}.wav": "x", f"{name}.json": record}
    manifest = clips(tmp_path, write_tar(tmp_path / "0.tar", {**members, "e.wav": "x"}))
    assert [row.domain for row in manifest.rows] == ["street", "3", "", "", ""]
    assert summary_of(manifest).endswith("domains: 3 1, street 1; columns not read: x")
    assert clips(tmp_path, write_tar(tmp_path / "1.tar", {"a.wav": "x"})).rows.domains is None
    more = clips(tmp_path, tmp_path / "0.tar", tmp_path / "1.tar").rows
    assert [row.domain for row in more] == ["street", "3", "", "", "", ""]
    part = ClipWeights(("beats", "clap"), {"street": "beats", "song": "clap"}, 10.0, 0.0)
    with pytest.raises(UserError, match=r"no teacher for the domain '3' in .*0\.tar"):
        part.read_clips(read_manifest(tmp_path / "0.tar"))
    with pytest.raises(UserError, match=r"1\.tar names no domains; .* a field `domain` to the JSON beside"):
        part.read_clips(read_manifest(tmp_path / "1.tar"))


def test_the_summary_names_layout_classes_splits_and_what_is_left_out(tmp_path: Path) -> None:
    good = {"a.wav": "x", "a.json": '{"label": "dog", "size": 3}', "b.m4a": "y", "c.png": "z", "../d.wav": "x"}
    tars = [write_tar(tmp_path / f"{name}.tar", good) for name in ("train-0", "train-1", "test-0")]
    assert summary_of(clips(tmp_path, *tars)) == (
        f"data: 3 tars in {tmp_path}: 3 clips, 1 classes ('label' beside the sounds), splits: test 1, training 2; "
        "left out: 3 .png members, 3 unsupported_format, 3 outside; columns not read: size; "
        "the splits are those in the names of the tars"
    )


def test_broken_tars_and_members_are_listed(tmp_path: Path) -> None:
    good = write_tar(tmp_path / "good.tar", {"a.wav": "x", "b.m4a": "y", "c.png": "z", "d.wav": "x", "d.json": "{"})
    packed = tmp_path / "packed.tar.gz"
    packed.write_bytes(b"\x1f\x8b" + bytes(600))
    damaged = write_tar(tmp_path / "damaged.tar", {"a.wav": "x", "b.wav": "y"})
    content = bytearray(damaged.read_bytes())
    content[1024] ^= 1
    damaged.write_bytes(content)
    manifest = clips(tmp_path, good, packed, damaged)
    assert list(manifest.ids) == ["good.tar/a.wav", "damaged.tar/a.wav"]
    assert [(clip.id, clip.reason) for clip in manifest.notes.set_aside] == [
        ("packed.tar.gz", "unreadable_tar"),
        ("good.tar/b.m4a", "unsupported_format"),
        ("good.tar/d.wav", "malformed"),
        ("damaged.tar", "damaged_tar"),
    ]
    assert manifest.notes.set_aside[0].detail == (
        f"{packed}: compressed by gzip, so no member can be read alone; decompress it first"
    )
    assert manifest.notes.left_out == {".png members": 1}


def test_a_tar_that_grew_is_read_again(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.wav": "x"})
    assert list(clips(tmp_path, path).ids) == ["a.tar/a.wav"]
    assert (tmp_path / INDEX).exists()
    write_tar(path, {"b.wav": "y"}, mode="a")
    assert list(clips(tmp_path, path).ids) == ["a.tar/a.wav", "a.tar/b.wav"]


@pytest.mark.parametrize(
    ("content", "label", "message"),
    [
        (b"\x1f\x8b" + bytes(600), "", "a.tar: compressed by gzip"),
        (b"x" * 600, "", "a.tar: not a tar"),
        (b"", "", "no audio in it"),
        ({"a.txt": "x"}, "", "no audio in it$"),
        ({"a.m4a": "x"}, "", "no audio in it; a.tar/a.m4a: libsndfile does not read"),
        ({"../a.wav": "x"}, "", r"no audio in it; a.tar/\.\./a.wav: the name of the member leads out"),
        ({"a.wav": "x", "a.json": '{"x": 1}'}, "species", "--label species: .* the columns are x"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    content: bytes | dict[str, bytes | str], label: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_tar(path, content)
    with pytest.raises(UserError, match=message) as error:
        clips(tmp_path, path, label=label)
    assert "\n" not in str(error.value)


def is_readable(source: Path) -> bool:
    """Read all of a tar. Assert that every clip is read from its own tar, or is listed once with one line."""
    try:
        manifest = read_manifest(source)
    except UserError:
        return False
    assert "\n" not in summary_of(manifest)
    tars = {source} if source.is_file() else set(source.iterdir())
    assert {row.path for row in manifest.rows} <= tars
    clips, rows = ClipDataset(manifest, 16_000, Crop(0)), list(range(len(manifest)))
    loaded = clips.__getitems__(Draws(rows, rows))
    read = 0 if loaded.batch is None else len(loaded.batch.ids)
    assert read + len(loaded.set_aside) == len(manifest)
    for clip in (*loaded.set_aside, *manifest.notes.set_aside):
        assert clip.reason
        assert "\n" not in clip.detail
    return True


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_no_damage_of_a_tar_is_a_traceback(form: int, tmp_path: Path) -> None:
    members = {
        "x" * 50 + "/" + "n" * 90 + ".flac": sound(300, 0.05),
        "b.wav": sound(400, 0.05, "WAV"),
        "b.json": '{"label": "a"}',
    }
    whole = write_tar(tmp_path / "0.tar", members, form).read_bytes()
    generator = np.random.default_rng(form)
    places = [*range(0, 4 * 512, 97), *generator.integers(0, len(whole), 60).tolist()]
    readable = 0
    for number, place in enumerate(places):
        content = bytearray(whole[:place] if number % 3 == 0 else whole)
        if number % 3 == 1:
            content[place] = int(generator.integers(256))
        elif number % 3 == 2:
            content[place : place + 512] = generator.bytes(512)
        path = tmp_path / f"{number + 1}.tar"
        path.write_bytes(content)
        readable += is_readable(path)
        path.unlink()
    assert 20 < readable < len(places)


def test_a_tar_that_is_a_pipe_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(UserError, match=r"a.tar: not a file"):
        read_manifest(tmp_path)


def test_a_tar_that_is_cut_off_after_it_was_indexed_costs_its_clips(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.flac": sound(300), "b.flac": sound(400)})
    manifest = read_manifest(tmp_path)
    os.truncate(path, 1000)
    loaded = ClipDataset(manifest, 16_000, Crop(0)).__getitems__(Draws([0, 1], [0, 1]))
    assert [clip.reason for clip in loaded.set_aside] == ["truncated", "truncated"]


def test_an_update_sees_the_sounds_of_a_tar_that_changed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", dict.fromkeys(("a.wav", "b.wav", "c.wav"), sound(300, form="WAV")))
    numbers = np.arange(3)
    before = FileStates(read_manifest(tmp_path), Crop())
    stamps = before.stamps(numbers)
    stamps["content"] = [before.content(number) for number in range(3)]
    changed = {"a.wav": 0.2, "b.wav": 0.3, "c.wav": 0.2}
    write_tar(path, {n: sound(301 if n == "c.wav" else 300, s, "WAV") for n, s in changed.items()})
    os.utime(path, ns=(1, 1))
    now = FileStates(read_manifest(tmp_path), Crop())
    found = compare(stamps, now.stamps(numbers), now.content)
    assert found.unchanged.tolist() == [True, False, False]
