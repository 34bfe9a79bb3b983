"""The options of `fit` as one value: what was given, what is stored, and what config.yaml holds."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

import distill
from distill.data.clips.dataset import Crop
from distill.data.clips.sources import Data
from distill.data.errors import UserError
from distill.data.sampling.weights import Sampling
from distill.run.options import FitArguments, FitOptions
from distill.run.resuming import check_same_run
from distill.training.engine import Engine

STORED = FitOptions(
    teacher="spectral", student="mobilenet_v3", data="sounds", out="run", epochs=20, batch_size=8, crop=Crop()
)


def given(**values: Any) -> FitOptions:
    return FitArguments(**values).options(STORED, frozenset(values))


def test_what_is_given_on_resume_counts_even_where_it_is_the_default() -> None:
    assert FitOptions().epochs is None
    assert given(out="run", resume=True).epochs == 20
    assert given(out="run", resume=True, epochs=10).epochs == 10
    assert given(out="run", resume=True, batch_size=32).batch_size == 32
    assert given(out="elsewhere", resume=True) == dataclasses.replace(STORED, out="elsewhere")


def test_fit_has_the_signature_of_its_arguments() -> None:
    parameters = inspect.signature(distill.fit).parameters
    assert list(parameters) == [field.name for field in dataclasses.fields(FitArguments)]
    assert parameters["epochs"].default is None
    for name in parameters:
        assert f"        {name}: " in str(distill.fit.__doc__), name


def test_positional_arguments_are_known_as_given(tmp_path: Any) -> None:
    with pytest.raises(UserError, match=r"--data nothing: no such file"):
        distill.fit("spectral", "mobilenet_v3", "nothing", str(tmp_path / "run"))


def test_settings_may_be_mappings_and_fold_a_number() -> None:
    options = FitOptions(crop={"seconds": 2.0}, sampling={"policy": "label"}, fold=3)  # type: ignore[arg-type]
    assert (options.crop, options.sampling, options.fold) == (Crop(2.0), Sampling("label"), "3")
    with pytest.raises(UserError, match=r"crop.*unexpected"):
        FitOptions(crop={"second": 2.0})  # type: ignore[arg-type]


def test_config_yaml_holds_the_options_and_gives_them_back() -> None:
    options = dataclasses.replace(STORED, teacher=["spectral", {"class_path": "ast"}], engine=Engine(workers=0))
    config = options.as_config()
    assert config["teacher"][1] == {"class_path": "ast", "init_args": {}}
    assert FitOptions.from_config(config).as_config() == config
    assert STORED.as_config()["teacher"] == {"class_path": "spectral", "init_args": {}}
    with pytest.raises(UserError, match="the option 'colour' is unknown"):
        FitOptions.from_config(config | {"colour": "blue"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": ""}, "--out is required"),
        ({"student": None}, "--student is required"),
        ({"data": ""}, "--data is required"),
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"batch_size": 0}, "--batch_size 0"),
        ({"validation": 1.0}, "--validation 1.0: must be a share"),
    ],
)
def test_options_of_which_no_run_can_be_made(changes: dict[str, Any], message: str) -> None:
    STORED.check()
    with pytest.raises(UserError, match=message):
        dataclasses.replace(STORED, **changes).check()


def test_a_run_goes_on_with_more_epochs_and_with_options_that_it_could_not_know() -> None:
    before = STORED.as_config()
    now = before | {"epochs": 30, "out": "moved", "crop": before["crop"] | {"fade": 0.1}}
    check_same_run(before, now)
    with pytest.raises(UserError, match="batch_size was 8, is 4"):
        check_same_run(before, before | {"batch_size": 4})
    with pytest.raises(UserError, match="crop was"):
        check_same_run(before, before | {"crop": before["crop"] | {"seconds": 1.0}})
    with pytest.raises(UserError, match="teacher was"):
        check_same_run(before, before | {"teacher": None})


def test_data_may_be_one_value_and_are_stored_as_texts() -> None:
    options = FitOptions(data=Data("t.csv", root="audio", label="species"), split="fold")
    assert (options.data, options.root, options.label, options.split) == ("t.csv", "audio", "species", "fold")
    assert options.source == Data("t.csv", "audio", "species", "fold")
    assert FitOptions.from_config(options.as_config()).source == options.source


def test_config_of_earlier_versions_has_only_a_path() -> None:
    config = {name: value for name, value in STORED.as_config().items() if name not in ("root", "label", "split")}
    assert FitOptions.from_config(config).source == Data("sounds")


def test_other_data_on_resume_replace_the_options_beside_them() -> None:
    stored = dataclasses.replace(STORED, data=Data("t.csv", label="species"))
    again = FitArguments(out="run", resume=True, data=Data("u.csv", root="audio"))
    assert again.options(stored, frozenset({"out", "data"})).source == Data("u.csv", "audio")
    only = FitArguments(out="run", resume=True, split="fold")
    assert only.options(stored, frozenset({"out", "split"})).source == Data("t.csv", label="species", split="fold")
