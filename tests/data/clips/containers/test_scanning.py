"""The sounds of a tar, what is written beside them, and members that cannot be used."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from distill.data.clips.containers.scanning import scan
from distill.data.errors import UserError
from tests.data.clips.containers.tars import write_tar

BESIDE = {
    "json": ({"a.flac": "x", "a.json": '{"label": "dog"}'}, {"label": "dog"}),
    "json before": ({"a.json": '{"label": "dog"}', "a.flac": "x"}, {"label": "dog"}),
    "far apart": ({"a.flac": "x", "b.flac": "y", "a.cls": "3"}, {"cls": "3"}),
    "several": (
        {"a.flac": "x", "a.cls": "3\n", "a.json": '{"cls": "4", "id": 1}', "a.txt": " a dog "},
        {"cls": "3", "id": 1, "txt": "a dog"},
    ),
    "a label": (
        {"a.flac": "x", "a.label": "\ufeffMale speech, man speaking\n"},
        {"label": "Male speech, man speaking"},
    ),
    "a list": ({"a.flac": "x", "a.json": '["dog", "cat"]'}, {"json": ["dog", "cat"]}),
    "dots in the name": ({"a.flac": "x", "a.b.json": '{"no": 1}', "a.json": '{"label": "yes"}'}, {"label": "yes"}),
    "of the whole name": ({"a.flac": "x", "a.flac.json": '{"label": "dog"}'}, {"label": "dog"}),
    "another key": ({"a.flac": "x", "b.json": '{"label": "dog"}'}, None),
    "another folder": ({"a.flac": "x", "f/a.json": '{"label": "dog"}'}, None),
    "nothing": ({"a.flac": "x"}, None),
    "a caption in another encoding": ({"a.flac": "x", "a.txt": b"caf\xe9", "a.cls": "1"}, {"cls": "1"}),
    "values that are no labels": (
        {
            "a.flac": "x",
            "a.json": json.dumps({"text": "y" * 2000, "meta": {"a": 1}, "no": None, "tags": ["a", "b"], "t": 0.5}),
        },
        {"tags": ["a", "b"], "t": 0.5},
    ),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_beside_a_sound_belongs_to_it(name: str, tmp_path: Path) -> None:
    members, record = BESIDE[name]
    found = scan(write_tar(tmp_path / "a.tar", members))
    assert found.names[0] == "a.flac"
    assert (json.loads(found.records[0]) if found.records[0] else None) == record


def test_the_key_ends_at_the_first_dot_if_nothing_else_fits(tmp_path: Path) -> None:
    members = {
        "f/a.left.flac": "x",
        "f/a.right.flac": "y",
        "f/a.json": '{"label": "dog"}',
        "f/a.right.json": '{"label": "cat"}',
    }
    found = scan(write_tar(tmp_path / "a.tar", members))
    assert [json.loads(record)["label"] for record in found.records] == ["dog", "cat"]


def test_places_are_those_of_the_content(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar", {"1.wav": "first", "x.md": "readme", "dog/2.MP3": "second one"}, tarfile.PAX_FORMAT
    )
    found, content = scan(path), path.read_bytes()
    assert list(found.names) == ["1.wav", "dog/2.MP3"]
    ranges = zip(found.firsts.tolist(), found.sizes.tolist(), strict=True)
    assert [content[first : first + size] for first, size in ranges] == [b"first", b"second one"]
    assert (found.others, found.fault, found.set_aside) == ({".md": 1}, "", ())


@pytest.mark.parametrize(
    ("members", "name", "reason", "detail"),
    [
        ({"a.m4a": "x"}, "a.m4a", "unsupported_format", "libsndfile does not read .m4a"),
        ({"a.flac": "x", "a.json": '{"label": '}, "a.flac", "malformed", "a.json is not JSON"),
        ({"a.flac": "x", "a.json": "[" * 100_000}, "a.flac", "malformed", "a.json is not JSON"),
        ({"a.flac": "x", "a.txt": "x" * (1 << 21)}, "a.flac", "malformed", "a.txt has 2,097,152 bytes"),
        ({"a.flac": "x", "a.cls": b"\xe9"}, "a.flac", "malformed", "what is beside it is not UTF-8: a.cls"),
        (
            {"a.flac": "x", "a.json": '{"a": "\\ud800"}'},
            "a.flac",
            "malformed",
            "what is beside it is not UTF-8: a.json",
        ),
        ({"a.flac": "x", "a.flac#": "y"}, "a.flac", "repeated", "a later member of the tar has the same name"),
    ],
)
def test_a_member_that_cannot_be_used_is_set_aside(
    members: dict[str, bytes | str], name: str, reason: str, detail: str, tmp_path: Path
) -> None:
    found = scan(write_tar(tmp_path / "a.tar", {**members, "good.wav": "x"}))
    assert [(clip.id, clip.reason) for clip in found.set_aside] == [(name, reason)]
    assert found.set_aside[0].detail.startswith(detail)
    assert found.names[-1] == "good.wav"


def test_of_members_of_one_name_the_last_is_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.flac": "first", "a.cls": "1", "a.flac#": "last one", "a.cls#": "2"})
    found = scan(path)
    assert found.sizes.tolist() == [len("last one")]
    assert json.loads(found.records[0]) == {"cls": "2"}


@pytest.mark.parametrize("name", ["../a.wav", "x/../../a.wav", "/../a.wav", "./.././a.wav", "x/.."])
def test_a_name_that_leads_out_of_the_tar_is_not_read(name: str, tmp_path: Path) -> None:
    found = scan(write_tar(tmp_path / "a.tar", {name: "x", "../b.json": "{}", "good.wav": "y"}))
    assert list(found.names) == ["good.wav"]
    assert [clip.reason for clip in found.set_aside] == ["outside"] * name.endswith(".wav")


@pytest.mark.parametrize("name", ["/etc/a.wav", "//etc/a.wav", "././etc/a.wav", "/./etc/a.wav"])
def test_an_absolute_name_is_a_name_in_the_tar(name: str, tmp_path: Path) -> None:
    found = scan(write_tar(tmp_path / "a.tar", {name: "x", "etc/a.json": '{"label": "dog"}'}))
    assert list(found.names) == ["etc/a.wav"]
    assert found.records[0] == '{"label":"dog"}'


def test_links_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind, target in [
            ("s.wav", tarfile.SYMTYPE, "/etc/passwd"),
            ("h.wav", tarfile.LNKTYPE, "a.wav"),
            ("d.wav", tarfile.CHRTYPE, ""),
            ("folder.wav", tarfile.DIRTYPE, ""),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    found = scan(tmp_path / "a.tar")
    assert [(clip.id, clip.reason, clip.detail) for clip in found.set_aside] == [
        ("s.wav", "not_regular_file", "the member is a link, not a file"),
        ("h.wav", "not_regular_file", "the member is a link, not a file"),
        ("d.wav", "not_regular_file", "the member is a device, not a file"),
    ]
    assert len(found.names) == 0


def test_a_truncated_tar_loses_its_last_sound_only(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.flac": "x" * 2000, "b.flac": "y" * 2000, "b.cls": "1"})
    path.write_bytes(path.read_bytes()[: 512 + 2048 + 512 + 1000])
    found = scan(path)
    assert list(found.names) == ["a.flac"]
    assert [(clip.id, clip.reason, clip.detail) for clip in found.set_aside] == [
        ("b.flac", "truncated", "the tar ends 1,000 bytes before the member does")
    ]


def test_what_lies_after_damage_is_said(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.flac": "x", "b.flac": "y", "c.flac": "z"})
    content = bytearray(path.read_bytes())
    content[1024 + 20] ^= 255
    path.write_bytes(content)
    found = scan(path)
    assert list(found.names) == ["a.flac"]
    assert found.fault == "the header at byte 1,024 is damaged; members after it are not read"


def test_hidden_members_are_counted(tmp_path: Path) -> None:
    members = {"./a.wav": "x", "._a.wav": "x", "__MACOSX/._b.wav": "x", ".git/c.wav": "y", "d.wav": "z"}
    found = scan(write_tar(tmp_path / "a.tar", members))
    assert list(found.names) == ["a.wav", "d.wav"]
    assert found.others == {"hidden files": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"x" * 600, "not a tar"), (b"\x1f\x8b" + bytes(600), "compressed by gzip"), (None, "No such file")],
)
def test_what_is_no_tar_is_refused_in_one_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        scan(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_an_empty_tar_has_no_sounds(tmp_path: Path) -> None:
    tarfile.open(tmp_path / "a.tar", "w").close()
    assert len(scan(tmp_path / "a.tar").names) == 0
