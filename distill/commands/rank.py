"""`distill rank`: compare teachers on the user's sounds, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from distill.commands.arguments import ReadsClips, called_with
from distill.data.clips.dataset import Crop
from distill.data.clips.layouts import LAYOUTS
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from distill.data.files import lock, write_json
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.cost import cost_of
from distill.evaluation.quality import crop_matches
from distill.evaluation.ranking import Candidate, Ranking, Resampled, Sample, rank_candidates, share
from distill.evaluation.results import MEL
from distill.evaluation.scoring import Scored, labels_of, score_store, usable_splits
from distill.evaluation.verdicts import DIVIDED
from distill.objectives.parts.health import effective_rank
from distill.run.crop_pairs import clips_in_all, draw_clips, halves_in_all, with_halves
from distill.run.embeddings import Upkeep, fill_store
from distill.run.encoders import describe
from distill.run.identity import identity
from distill.run.options import Teachers, teachers_of
from distill.run.quality import mel_statistics
from distill.run.set_aside import report_set_aside
from distill.run.sound_share import printing
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher

_MIN_CLIPS = 20  # with fewer, an interval says nothing
_COST_SECONDS = 10.0  # duration of the clip for which the cost is measured
_CROP = Crop()


@dataclass(frozen=True)
class RankArguments(ReadsClips):
    """The arguments of `rank`.

    Args:
        data: Clips: a folder of audio, a table, or the folder of a published data set. In Python also `distill.Data`.
        teacher: Teachers to compare, one or several: a registered name, an import path, or an object.
        clips: Number of clips to embed, at random.
        out: Folder of the embeddings and the result. A second call embeds only what is new. Empty:
            `rank/NAME-OF-DATA`.
        seed: Seed of the sample.
        batch_size: Clips per batch. It does not change the embeddings.
        workers: Processes that decode audio. 0 decodes in the main process. -1: 0 on a CPU, up to 8 with a GPU.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        allow_import: Package whose classes a configuration file may name. None: no package.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits or folds of a table. Empty: found by its name.
    """

    data: str | Data
    teacher: Teachers = None
    clips: int = 2000
    out: str = ""
    seed: int = 0
    batch_size: int = 16
    workers: int = -1
    device: str = "auto"
    allow_import: str | None = None
    root: str = ""
    label: str = ""
    split: str = ""

    @property
    def folder(self) -> Path:
        """Folder of the embeddings and the result."""
        return Path(self.out) if self.out else Path("rank") / self.data_name


@called_with(RankArguments)
def rank(arguments: RankArguments, given: frozenset[str]) -> Ranking:
    """Compare teachers on a sample of clips, beside mel statistics, before anything is trained.

    With labels, the linear probe of `distill probe` ranks them. Without labels, it is the share of clips whose second
    half is nearest to their first half. All scores are of the same clips. A teacher that scores like mel statistics has
    little to distil.

    Returns:
        The ranking, the best teacher first.

    Raises:
        UserError: a teacher cannot be built, there are fewer than 20 clips, or all have the same label.
    """
    if arguments.clips < _MIN_CLIPS:
        raise UserError(f"--clips {arguments.clips}: must be at least {_MIN_CLIPS}")
    if not (written := teachers_of(arguments.teacher)):
        raise UserError("--teacher NAME is required; --teacher+=NAME adds another")
    task = _read(arguments)
    teachers = TEACHERS.build_several(written)
    for name, teacher in teachers.items():
        if teacher.store is not None:
            raise UserError(f"--teacher {name}: must be an encoder, since a store has no crops of its clips")
        print(describe("teacher", name, teacher))
    # At the highest sample rate, since no teacher may have more of the sound than mel statistics.
    mel = mel_statistics(max(teachers.values(), key=lambda teacher: teacher.sample_rate))
    with lock(arguments.folder, "distill rank"):
        ranking = _ranking(arguments, task, teachers, mel)
        write_json(arguments.folder / "rank.json", {"take": ranking.best, **asdict(ranking)})
    print("\n".join(ranking.lines()))
    print(f"written to {arguments.folder}")
    return ranking


class _Task(NamedTuple):
    """The clips to embed.

    Args:
        sample: The clips, with labels if the data has some.
        available: Number of clips of the data.
        name: Name of the published data set. "auto": none was found.
    """

    sample: Manifest
    available: int
    name: str


def _read(arguments: RankArguments) -> _Task:
    """Read the data, and draw the sample. Raise UserError for data that cannot be scored, before any embedding."""
    manifest = read_manifest(arguments.source)
    labelled = manifest.labelled()  # by the names of the folders, which are labels if there are two
    manifest = labelled if len(labelled.classes) > 1 else manifest
    print(summary_of(manifest))
    sample = draw_clips(manifest, arguments.clips, arguments.seed)
    if len(sample) < _MIN_CLIPS:
        raise UserError(f"--data {manifest.source}: has {len(sample)} clips, at least {_MIN_CLIPS} are required")
    if len(sample.classes) == 1:
        raise UserError(
            f"--data {manifest.source}: all clips have the label {sample.classes[0]!r}, two classes are required; "
            "--label names another column"
        )
    if sample.classes:
        labels = labels_of(sample.rows, sample.classes)
        usable_splits(labels, 0)  # it raises for splits that cannot be scored
        if labels.divides_recordings:
            print(DIVIDED)
    return _Task(sample, len(manifest), manifest.notes.layout if manifest.notes.layout in LAYOUTS else "auto")


def _ranking(arguments: RankArguments, task: _Task, teachers: Mapping[str, Teacher], mel: Teacher) -> Ranking:
    """Embed the sample with every encoder, and score those clips that all could embed."""
    encoders = {**teachers, MEL: mel}
    rows = with_halves(task.sample, _CROP)
    stores = [_embedded(arguments, name, encoder, rows) for name, encoder in encoders.items()]
    aside = [clip for store in stores for clip in store.set_aside]
    report_set_aside(aside, task.sample, arguments.folder / "set_aside.csv")
    clips = clips_in_all(task.sample, stores)
    if len(clips) < _MIN_CLIPS:
        raise UserError(
            f"only {len(clips)} of {len(task.sample)} clips could be embedded by every teacher, at least {_MIN_CLIPS} "
            "are required"
        )
    halves = halves_in_all(clips, stores)
    pairs = len(halves[0]) if len(halves[0]) >= _MIN_CLIPS else 0
    if not clips.classes and not pairs:
        raise UserError(f"--data {clips.source}: has no labels, and its clips are too short to compare their halves")
    scored = [score_store(store, clips, task=task.name) if clips.classes else None for store in stores]
    candidates = [
        Candidate(
            name,
            identity(encoder),
            None if one is None else Resampled(one.result.score, one.samples),
            share(crop_matches(store[halves[0]], store[halves[1]])) if pairs else None,
            float(effective_rank(torch.from_numpy(store[list(clips.ids)]))),
            cost_of(encoder, _COST_SECONDS),
        )
        for (name, encoder), store, one in zip(encoders.items(), stores, scored, strict=True)
    ]
    return rank_candidates(_sample(arguments, task, clips, scored[0], pairs), candidates[:-1], candidates[-1])


def _embedded(arguments: RankArguments, name: str, encoder: Teacher, rows: Manifest) -> EmbeddingStore:
    """Return the store of an encoder, which is brought up to date. Its folder is named by its weights and options."""
    print(f"embed with {name}")
    path = arguments.folder / f"{name.replace(' ', '_')}_{identity(encoder)[:12]}"
    upkeep = Upkeep(drop=True, on_sound=printing(_CROP, "the middle of each clip"))
    return fill_store(
        encoder, rows, path, _CROP, arguments.batch_size, "float32", arguments.workers, arguments.device,
        upkeep=upkeep,
    )  # fmt: skip


def _sample(arguments: RankArguments, task: _Task, clips: Manifest, scored: Scored | None, pairs: int) -> Sample:
    """Return the numbers of clips of a ranking."""
    result = None if scored is None else scored.result
    return Sample(
        data=arguments.data_name,
        clips=len(clips),
        left_out=len(task.sample) - len(clips),
        available=task.available,
        metric="" if result is None else result.metric,
        classes=0 if result is None else result.classes,
        test_clips=0 if result is None else result.test_clips,
        pairs=pairs,
    )
