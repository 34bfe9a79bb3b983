"""`distill push` against a hub on this machine, and `distill.load` from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import distill
from distill.cli.shell import main
from distill.commands.push import licensed_card, unclear_part
from distill.data.errors import UserError
from distill.students.saved import save_student
from tests.distill.hub import Hub, running_hub
from tests.students.tiny import tiny_student

CARD = "---\nlibrary_name: audio-distill\nlicense: other\nlicense_name: that of ours\n---\n\n# A student\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants, file_download, hf_api

    with running_hub() as running:
        for module in (constants, hf_api, file_download):
            if hasattr(module, "ENDPOINT"):
                monkeypatch.setattr(module, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield running


def saved(folder: Path, licence: str) -> Path:
    student = tiny_student("bc_resnet")
    student.licence = licence
    save_student(student, folder / "run" / "student", CARD)
    return folder / "run"


def test_a_pushed_student_is_private_and_is_loaded_by_its_name(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path, "MIT")
    main(["push", str(run), "me/tiny"])
    printed = capsys.readouterr().out
    assert "licence of the weights it learned from: MIT" in printed
    assert f"{hub.address}/me/tiny" in printed
    assert hub.private == {"me/tiny": True}
    files = hub.repositories["me/tiny"]
    assert {"config.json", "model.safetensors", "README.md", "modules.json", "student_code.py"} <= files.keys()
    front = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert (front["license"], front["license_name"], front["teacher_license"]) == ("other", "that-of-ours", "MIT")
    assert files["README.md"].decode().endswith("\n# A student\n")
    assert all(token == "Bearer hf_of_a_test" for method, _, token in hub.requests if method == "POST")
    loaded, own = distill.load("me/tiny"), distill.load(str(run))
    waveform = torch.randn(16_000)
    assert torch.equal(loaded.embed(waveform, 16_000).clip, own.embed(waveform, 16_000).clip)
    assert not list((tmp_path / "cache").rglob("*.py"))  # no code is downloaded


def test_an_unclear_licence_must_be_decided(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path, "MIT; none stated: the authors' repository has no licence file, so all rights are reserved")
    with pytest.raises(UserError, match="--licence is required, since 'none stated"):
        distill.push(str(run), "me/tiny")
    assert "none stated" in capsys.readouterr().out
    assert not hub.requests
    distill.push(str(run), "me/tiny", public=True, licence="CC-BY-NC-4.0")
    front = yaml.safe_load(hub.repositories["me/tiny"]["README.md"].decode().split("---")[1])
    assert front["license"] == "cc-by-nc-4.0"
    assert front["teacher_license"].startswith("MIT; none stated")
    assert hub.private == {"me/tiny": False}
    assert (run / "student" / "README.md").read_text() == CARD


@pytest.mark.parametrize(
    ("licence", "part"),
    [
        ("MIT", ""),
        ("MIT (the authors' repository); Apache-2.0", ""),
        ("none: computed", ""),
        ("not stated", "not stated"),
        ("Apache-2.0; that of the checkpoint, see its page", "that of the checkpoint, see its page"),
        ("CC-BY-ND-4.0", "CC-BY-ND-4.0"),
        ("MIT; evaluation of the paper only", "evaluation of the paper only"),
    ],
)
def test_only_known_licences_that_allow_it_are_clear(licence: str, part: str) -> None:
    assert unclear_part(licence) == part


def test_a_licence_that_the_hub_does_not_know_is_named() -> None:
    card = licensed_card("no front matter\n", "MIT", "My own terms")
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "my-own-terms")
    assert card.endswith("no front matter\n")


def test_an_old_student_without_a_licence_needs_one(hub: Hub, tmp_path: Path) -> None:
    run = saved(tmp_path, "MIT")
    config = run / "student" / "config.json"
    config.write_text(
        json.dumps({key: value for key, value in json.loads(config.read_text()).items() if key != "licence"})
    )
    with pytest.raises(UserError, match="--licence is required, since 'that of the teacher"):
        distill.push(str(run), "me/tiny")
    for name in ("modules.json", "preprocessor_config.json", "student_code.py"):  # an old one has none of these
        (run / "student" / name).unlink()
    distill.push(str(run), "me/tiny", licence="MIT")
    assert {"modules.json", "preprocessor_config.json", "student_code.py"} <= hub.repositories["me/tiny"].keys()


def test_mistakes_are_one_line(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved(tmp_path, "MIT")
    with pytest.raises(UserError, match="distill push RUN user/name"):
        distill.push(str(run), "name")
    with pytest.raises(UserError, match="no such run"):
        distill.push(str(tmp_path / "missing"), "me/tiny")
    with pytest.raises(UserError, match="the upload failed"):
        distill.push(str(run), "me/a name")
    config = run / "student" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sha256": "0"}))
    with pytest.raises(UserError, match="damaged"):
        distill.push(str(run), "me/tiny")
    assert not hub.requests


def test_without_a_token_one_line_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main(["push", str(saved(tmp_path, "not stated")), "me/tiny"])  # asked for before a licence
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.startswith("distill: error: no token of the Hugging Face hub")) == ("", True)
