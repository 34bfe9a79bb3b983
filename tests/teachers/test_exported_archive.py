"""Files of torch.export: what is read of them, and files that are refused, each by one line. No code is run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.cli.shell import main
from distill.teachers.exported_archive import read_archive
from tests.teachers.exported_files import Tiny, build, changed, save
from tests.teachers.onnx_files import filters
from tests.teachers.tiny import RunsCode


def zipped(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def another_schema(model: Any) -> None:
    model["schema_version"]["major"] = 9


def pickled(config: Any) -> None:
    config["config"]["filters"] |= {"use_pickle": True, "tensor_meta": None}


def too_large(config: Any) -> None:
    config["config"]["filters"]["tensor_meta"]["sizes"][0]["as_int"] = 10**6


def elsewhere(config: Any) -> None:
    config["config"]["filters"]["path_name"] = "../../../etc/passwd"


SAMPLES, WEIGHT = "data/sample_inputs/model.pt", "data/weights/weight_0"
CODE = pickle.dumps(RunsCode())
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "is not a file of torch.export"),
    "nothing": (lambda: b"", "is not a file of torch.export"),
    "a pickle": (lambda: CODE, "is not a file of torch.export"),
    "cut off": (lambda: build()[:-500], "is not a file of torch.export, or is cut off"),
    "a checkpoint": (lambda: saved(Tiny().state_dict()), "or is cut off: it has no graph"),
    "TorchScript": (lambda: zipped({"m/code/__torch__.py": b"", "m/data.pkl": CODE}), "is TorchScript, which is code"),
    "of torch 2.7": (
        lambda: zipped({"serialized_exported_program.json": b"{}", "serialized_state_dict.pt": CODE}),
        "has pickled weights",
    ),
    "pickled sample inputs": (lambda: changed({SAMPLES: saved(RunsCode())}), "pickled objects besides tensors"),
    "sample inputs that are a plain pickle": (lambda: changed({SAMPLES: CODE}), "pickled objects besides tensors"),
    "a pickled weight": (lambda: changed({WEIGHT: CODE}, config=pickled), "'filters' is a pickled object"),
    "all weights in one pickle": (lambda: changed({"data/weights/model.pt": CODE}), "holds data/weights/model.pt"),
    "an object of C++": (lambda: changed({"data/constants/custom_obj_0": CODE}), "holds data/constants/custom_obj_0"),
    "an object": (lambda: changed({"data/constants/opaque_obj_0": CODE}), "holds data/constants/opaque_obj_0"),
    "compiled code": (lambda: changed({"data/aotinductor/model/x.so": b""}), "holds data/aotinductor/model/x.so"),
    "two graphs": (lambda: changed({"models/other.json": b"{}"}), "has 2 graphs"),
    "another schema": (lambda: changed(model=another_schema), "has schema 9 of torch 2"),
    "big-endian numbers": (lambda: changed({"byteorder": b"big"}), "big-endian"),
    "no weights": (lambda: changed({WEIGHT: None}), "is damaged"),
    "a weight that is too short": (lambda: changed(config=too_large), "is damaged"),
    "a weight outside": (lambda: changed(config=elsewhere), "is damaged"),
    "no JSON": (lambda: changed({"models/model.json": b"{"}), "is damaged"),
    "JSON of another kind": (lambda: changed({"models/model.json": b"[]"}), "is damaged"),
    "JSON without end": (lambda: changed({"models/model.json": b"[" * 100_000}), "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = BAD[name]
    path = save(tmp_path, content(), "bad.pt2")
    with pytest.raises(SystemExit) as ended:
        main(["embed", "--teacher", "exported", "--teacher.checkpoint", path, "--data", ".", "--out", "store"])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert path in lines[0]
    assert not Path("RAN").exists()


def test_tensors_and_texts_are_read(tmp_path: Path) -> None:
    archive = read_archive(Path(save(tmp_path, build())), "here")
    assert archive.extra["sample_rate"] == "16000"
    assert list(archive.tensors) == ["filters", "one"]
    assert archive.tensors["filters"].equal(filters())
    assert archive.model["schema_version"]["major"] == 8


def test_a_view_has_its_strides_and_offset(tmp_path: Path) -> None:
    def transpose(config: Any) -> None:
        config["config"]["filters"]["tensor_meta"] |= {
            "sizes": [{"as_int": 640}, {"as_int": 5}], "strides": [{"as_int": 1}, {"as_int": 640}],
            "storage_offset": {"as_int": 640},
        }  # fmt: skip

    archive = read_archive(Path(save(tmp_path, changed(config=transpose))), "here")
    assert archive.tensors["filters"].equal(filters()[1:, 0].T)


def test_sample_inputs_may_be_missing_or_empty(tmp_path: Path) -> None:
    for content in (None, b""):
        archive = read_archive(Path(save(tmp_path, changed({SAMPLES: content}))), "here")
        assert json.dumps(archive.model)
