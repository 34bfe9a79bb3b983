"""`distill embed`: run a teacher or a trained student over audio, into a store that survives a kill."""

from __future__ import annotations

from pathlib import Path

from distill.data.clips.dataset import Crop
from distill.data.clips.sources import read_manifest
from distill.data.encoders.registry import Written
from distill.data.files import lock
from distill.data.store.reader import EmbeddingStore
from distill.run.embeddings import encoder_of, fill_store, introduction, report_set_aside
from distill.run.precision import Arithmetic
from distill.teachers.teacher import Teacher


def embed(
    data: str,
    out: str,
    teacher: Written | Teacher | None = None,
    model: str | None = None,
    crop: Crop | None = None,
    batch_size: int = 16,
    dtype: str = "float16",
    frames: bool = False,
    arithmetic: Arithmetic = Arithmetic(),
    workers: int = -1,
    device: str = "auto",
    allow_import: str | None = None,
) -> EmbeddingStore:
    """Embed every clip of a data set into a store.

    Run it again after a kill: it goes on where it was, and the result is the same.

    Args:
        data: Folder of audio, table of clips, or a data set in its published layout.
        out: Folder of the store.
        teacher: Encoder, where it is a teacher.
        model: Encoder, where it is a trained student: a run folder, a student folder or a hub id.
        crop: Part of each clip that is embedded; it cannot be random.
        batch_size: Clips in a batch; it does not change the embeddings.
        dtype: Of the stored embeddings, float16 or float32.
        frames: Keep the embeddings of frames too, for objectives that compare frames; they take much more disk.
        arithmetic: Precision of the encoder, and whether it is compiled.
        workers: Processes that decode audio; 0 decodes between the batches, and -1 does that where the encoder itself
            keeps the cores busy, and uses up to 8 processes beside a GPU.
        device: "cpu", "cuda", or "auto": a GPU where there is one.
        allow_import: Package of a model's own class that may be imported.

    Returns:
        The store, opened.

    Raises:
        UserError: nothing to embed, or the folder holds another store.
    """
    encoder = encoder_of(teacher, model, allow_import)
    print(introduction(encoder))
    manifest = read_manifest(data)
    with lock(Path(out), "distill embed"):
        store = fill_store(
            encoder, manifest, Path(out), crop or Crop(), batch_size, dtype, workers, device, arithmetic, frames
        )
    print(f"{len(store)} embeddings of {store.dim} numbers in {out}")
    report_set_aside(store.set_aside, manifest, Path(out) / "set_aside.csv")
    return store
