"""`distill embed`: compute the embeddings of a data set, and store them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from distill.commands.arguments import called_with
from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.clips.views import Views
from distill.data.clips.windows import write_windows
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.run.embeddings import Upkeep, fill_store
from distill.run.encoders import encoder_of, introduction
from distill.run.identity import code_digest, data_digest
from distill.run.launcher import launch, starts_processes
from distill.run.precision import Arithmetic
from distill.run.set_aside import report_set_aside
from distill.run.shares import Share, lock_share
from distill.run.sound_share import printing
from distill.run.view_rows import view_rows
from distill.run.window_rows import WHOLE, row_tiling, window_rows
from distill.teachers.teacher import Teacher
from distill.training.engine import Engine
from distill.training.joining import joined

_MAX_NAMED = 8  # parts that a message names


@dataclass(frozen=True)
class EmbedArguments:
    """The arguments of `embed`.

    Args:
        data: Clips: a folder of audio, a table, or the folder of a published data set. In Python also `distill.Data`.
        out: Folder of the store.
        teacher: Teacher to embed with: a registered name, an import path, or an object. None: use `model`.
        model: Trained student to embed with: a run folder, a student folder or a hub id. None: use `teacher`.
        crop: Part of each clip that is embedded. It must not be random. None: the default of `Crop`.
        windows: Embed a row for each window of each clip, instead of its crop; windows.csv has their times. True: the
            windows of the encoder. A number: their length in seconds. `Windows`: length and hop.
        views: Embed several views of each clip, for `fit --objective.teacher_input same` without --live: the clip
            itself, and others with crops at random positions. A number: how many. `Views`: also with random levels,
            rotation, and mixed with other clips.
        batch_size: Clips per batch. It does not change the embeddings.
        dtype: Data type of the stored embeddings: "float16" or "float32".
        frames: Store the embeddings of frames too. Objectives that compare frames need them; they need much more disk.
        arithmetic: Precision of the encoder, and whether it is compiled.
        workers: Processes that decode audio. 0 decodes in the main process. -1: 0 on a CPU, up to 8 with a GPU.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        allow_import: Package from which the student's own class may be imported. None: no package.
        untrained: Embed with random weights instead of those of `model`: the baseline of the trained student.
        space: Name of a teacher of `model`: its student answers with vectors of that teacher's space, which can be
            compared with the teacher's own. Empty: the student's own embeddings.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits of a table. Empty: found by its name.
        devices: Number of devices of this machine. With several, a process is started for each, unless torchrun or
            srun has started them.
        shard: Part of the store to embed, such as "0/64" to "63/64" in an array job. The store is complete after all
            parts. They may run at the same time, and each can be run again. Empty: everything.
    """

    data: str | Data
    out: str
    teacher: Written | Teacher | None = None
    model: str | None = None
    crop: Crop | None = None
    windows: bool | float | Windows = False
    views: int | Views = 1
    batch_size: int = 16
    dtype: str = "float16"
    frames: bool = False
    arithmetic: Arithmetic = Arithmetic()
    workers: int = -1
    device: str = "auto"
    allow_import: str | None = None
    untrained: bool = False
    space: str = ""
    root: str = ""
    label: str = ""
    split: str = ""
    devices: int = 1
    shard: str = ""

    @property
    def engine(self) -> Engine:
        """Settings of the devices."""
        return Engine(accelerator={"cuda": "gpu"}.get(self.device, self.device), devices=self.devices)


@called_with(EmbedArguments)
def embed(arguments: EmbedArguments, given: frozenset[str]) -> EmbeddingStore:
    """Embed every clip of a data set into a store.

    A command that was interrupted can be run again. It embeds the missing clips, and the result is the same.
    If files were added, changed or removed since, the store is brought up to date: only those are embedded or dropped.

    Returns:
        The store, opened for reading.

    Raises:
        UserError: there is no clip to embed, or the folder holds another store.
    """
    share = Share.parse(arguments.shard)
    if starts_processes(arguments.engine, "--devices"):
        launch(arguments.engine, _run, arguments, share)
        return EmbeddingStore(arguments.out, partial=share.is_part)
    return _run(arguments, share)


def _run(arguments: EmbedArguments, share: Share) -> EmbeddingStore:
    """Embed the clips in this process, together with the processes of the launcher."""
    a, path = arguments, Path(arguments.out)
    with joined(a.engine) as world:
        encoder = world.each(lambda: encoder_of(a.teacher, a.model, a.allow_import, a.untrained, a.space))
        print(introduction(encoder))
        data = Data.of(a.data, a.root, a.label, a.split)
        rows = world.each(lambda: _rows(encoder, data, a))
        if world.size > 1:
            world.check_same({"code": code_digest(), "data": data_digest(rows.manifest)})
        upkeep = replace(rows.upkeep, share=share, world=world)
        task = f"distill embed --shard {a.shard}" if share.is_part else "distill embed"
        with world.held(lambda: lock_share(path, task, share)):
            store = fill_store(
                encoder, rows.manifest, path, rows.crop, a.batch_size, a.dtype, a.workers, a.device, a.arithmetic,
                a.frames, upkeep,
            )  # fmt: skip
            world.first(lambda: _finish(store, rows, path, share))
            return store


class _Rows(NamedTuple):
    """What becomes a row of the store."""

    manifest: Manifest
    crop: Crop
    upkeep: Upkeep
    are_windows: bool


def _rows(encoder: Encoder, data: Data, a: EmbedArguments) -> _Rows:
    """Return the clips of the data, cropped, their views or their windows. Print what was understood."""
    views = _views(a.views)
    manifest = read_manifest(data)
    print(summary_of(manifest))
    if a.windows is False:
        crop = a.crop or Crop()
        rows = view_rows(encoder, manifest, views, crop, a.dtype, a.frames)
        shape = {"views": views.as_fingerprint()} if views.count > 1 else {}
        on_sound = printing(crop, "--windows embeds all of it")
        return _Rows(rows, crop, Upkeep(drop=True, shaped_by=shape, on_sound=on_sound), False)
    if views.count > 1:
        raise UserError("--views needs a crop of each clip; omit --windows")
    tiling = row_tiling(encoder, a.windows, a.crop)
    shape = {"row_windows": {"seconds": tiling.seconds, "hop": tiling.hop}}
    return _Rows(window_rows(encoder, manifest, tiling), WHOLE, Upkeep(drop=True, shaped_by=shape), True)


def _views(views: int | Views) -> Views:
    """Return the settings of views. Raises UserError."""
    try:
        return views if isinstance(views, Views) else Views(views)
    except ValueError as error:
        raise UserError(f"--views {views}: {error}") from error


def _finish(store: EmbeddingStore, rows: _Rows, folder: Path, share: Share) -> None:
    """Write the tables beside the embeddings, and say what was stored."""
    if rows.are_windows:
        write_windows(rows.manifest, folder / "windows.csv")
    if store.missing_shards:
        missing = sorted({number % share.count for number in store.missing_shards})
        names = ", ".join(f"{number}/{share.count}" for number in missing[:_MAX_NAMED])
        more = ", ..." if len(missing) > _MAX_NAMED else ""
        print(f"part {share.number}/{share.count} is done; {len(missing)} parts are not complete yet: {names}{more}")
        return
    print(f"{len(store)} embeddings of {store.dim} numbers in {folder}")
    report_set_aside(store.set_aside, rows.manifest, folder / "set_aside.csv")
