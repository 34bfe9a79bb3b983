"""Compare distilled, supervised and untrained students of a tenth of the teacher's size, on rendered sound.

    python -m experiments.pocket.benchmark [--sounds FOLDER] [--out FOLDER] [--held_out] [--only GROUP ...]

Sounds are rendered if they are missing (see render.py). The teacher is trained elsewhere, as teachers usually are: on
three times the pool, with labels of words, speakers, kinds of sound and notes. Students train on the pool: on the
teacher's stored embeddings; on the pool's labels (one for each clip: a word, an instrument or a kind of sound); on all
kinds of labels of the teacher; or not at all. A linear probe scores every encoder on five tasks. Each row is the mean
of three seeds. The scores are not comparable with those of the real data sets whose layouts the sounds have.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

import distill
from distill.data.batch import AudioBatch
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.layouts import read_layout
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.encoders.encoder import Encoder
from distill.data.files import lock, write_json, write_text
from distill.data.sampling.batches import Draws
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.evaluation.scoring import labels_of, score_embeddings
from distill.run.embeddings import fill_store
from experiments.benchmarks.measure import write_section
from experiments.pocket.networks import MelStatistics, PocketNetwork
from experiments.pocket.render import check_tools, render

SEEDS = (0, 1, 2)
RATE, BATCH = 16_000, 32
EPOCH = 60  # steps, for every list of clips
TEACHER, STUDENT = 40, 12  # channels
TASKS = {
    "keywords": ("speech_commands_v0.02", "speech_commands_v2"),
    "voices": ("voxceleb1", "voxceleb1"),
    "families": (".", "nsynth_family"),
    "pitches": (".", "nsynth_pitch"),
    "surroundings": ("ESC-50", "esc50"),
}
LISTS = ("balanced", "unbalanced", "long_tailed")  # of clips, for students
LABELLED = ("described", "teacher")  # with all kinds of labels
STEPS = {"teacher": 1800, "student": 1800, "comparison": 600}
LEARNING_RATE = {"teacher": 3e-3, "labels": 6e-3, "embeddings": 6e-3}  # those of students are the best of three


@dataclass(frozen=True)
class Entry:
    """A row of the table: a network and its training.

    Args:
        group: Name of the rows that are compared with each other.
        name: Name of the row.
        steps: Training steps; 0 trains nothing.
        clips: Name of the list of sounds.
        settings: Arguments of `fit`; `teacher` holds the name of a store.
    """

    group: str
    name: str
    steps: int
    clips: str
    settings: dict[str, Any]


def network(channels: int, classes: int = 0) -> dict[str, Any]:
    return {
        "class_path": "experiments.pocket.networks.PocketNetwork",
        "init_args": {"channels": channels, "classes": classes},
    }


def labelled(channels: int, groups: list[int]) -> dict[str, Any]:
    """Return the settings of training on several kinds of labels."""
    objective = {"class_path": "experiments.pocket.networks.MultiTask", "init_args": {"groups": groups}}
    return {"student": network(channels, sum(groups)), "objective": objective}


def embedding(loss: str = "cosine", targets: str = "raw") -> dict[str, Any]:
    options = {"loss": loss, "targets": targets, "projector": "mlp", "dropout": 0.0}
    return {"class_path": "embedding", "init_args": options}


def entries(sounds: Sounds) -> list[Entry]:
    student = network(STUDENT)
    taught = {"student": student, "teacher": "teacher", "objective": embedding()}
    steps, few = STEPS["student"], STEPS["comparison"]
    rows = [
        Entry("students", "distilled", steps, "balanced", taught),
        Entry(
            "students",
            "supervised",
            steps,
            "balanced",
            {"student": network(STUDENT, sum(sounds.groups["balanced"])), "objective": "classification"},
        ),
        Entry(
            "students",
            "supervised, the teacher's kinds of labels",
            steps,
            "described",
            labelled(STUDENT, sounds.groups["described"]),
        ),
        Entry("students", "untrained", 0, "balanced", {"student": student}),
        Entry("students", "distilled from shuffled targets", few, "balanced", {**taught, "teacher": "shuffled"}),
    ]
    for policy, options in (("uniform", {}), ("cluster", {"clusters": 50}), ("hierarchical", {})):
        sampling = {"policy": policy, **options}
        rows.append(Entry("sampling", f"long-tailed, {policy}", few, "long_tailed", {**taught, "sampling": sampling}))
    rows.append(Entry("sampling", "all of the pool, evenly", few, "balanced", taught))
    for loss, targets in (("mse", "standardised"), ("contrastive", "raw"), ("relational", "raw")):
        rows.append(Entry("losses", loss, few, "balanced", {**taught, "objective": embedding(loss, targets)}))
    return rows


class Sounds:
    """Rendered sounds: tasks as decoded batches, lists of the pool as tables."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder, self.out = folder, out
        self.tables = {name: self._table(name) for name in (*LISTS, *LABELLED)}
        self.groups = {name: self._groups(table) for name, table in self.tables.items()}

    def _groups(self, table: Path) -> list[int]:
        """Return the number of labels of each kind, in the order of their names."""
        kinds = groupby(read_manifest(table).classes, key=lambda label: label.partition(":")[0])
        return [len(list(labels)) for _, labels in kinds]

    def _table(self, name: str) -> Path:
        """Write a list of AudioSet's layout as a table with the fine labels of each clip. Return its path."""
        root, text = self.folder / "audioset", io.StringIO()
        with open(root / "class_labels_indices.csv", newline="") as file:
            labels = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
        rows = csv.writer(text)
        rows.writerow(["id", "path", "labels"])
        seen: Counter[str] = Counter()  # the long-tailed list repeats the clips of its head
        with open(root / f"{name}_train_segments.csv", newline="") as file:
            for row in csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True):
                fine = ",".join(labels[mid] for mid in row[3].split(",")[1:])
                rows.writerow([f"{row[0]}@{seen[row[0]]}", f"audio/{row[0]}.wav", fine])
                seen[row[0]] += 1
        write_text(root / f"{name}.csv", text.getvalue())
        return root / f"{name}.csv"

    def tasks(self) -> dict[str, tuple[Manifest, list[AudioBatch]]]:
        """Return the clips of each task at 16 kHz. The two tasks of notes share their clips."""
        found: dict[str, tuple[Manifest, list[AudioBatch]]] = {}
        decoded: dict[str, list[AudioBatch]] = {}
        for task, (folder, layout) in TASKS.items():
            manifest = read_layout(layout, self.folder / folder)
            if folder not in decoded:
                clips = ClipDataset(manifest, RATE, Crop())
                ranges = [range(first, min(first + BATCH, len(clips))) for first in range(0, len(clips), BATCH)]
                loaded = [clips.__getitems__(Draws(rows, rows)) for rows in ranges]
                decoded[folder] = [part.batch for part in loaded if part.batch is not None]
                assert sum(len(batch) for batch in decoded[folder]) == len(manifest)
            found[task] = manifest, decoded[folder]
        return found


_sounds: Sounds  # of a worker process
_tasks: dict[str, tuple[Manifest, list[AudioBatch]]]


def _begin(folder: Path, out: Path) -> None:
    global _sounds, _tasks
    torch.set_num_threads(1)
    _sounds = Sounds(folder, out)
    _tasks = _sounds.tasks()


def probe(encoder: Encoder) -> dict[str, float]:
    """Score linear probes on test clips of every task; settings are chosen on validation or inner folds."""
    scores, known = {}, {}
    with torch.inference_mode():
        for task, (manifest, batches) in _tasks.items():
            if id(batches) not in known:
                known[id(batches)] = torch.cat([encoder(batch).clip for batch in batches]).numpy()
            labels = labels_of(manifest.rows, manifest.classes)
            scores[task] = score_embeddings(known[id(batches)], labels).result.score
    return scores


Measured = tuple[Entry, int, dict[str, float], float]  # entry, seed, score of each task, seconds of training


def measure(entry: Entry, seed: int) -> Measured:
    """Train one row with one seed and probe it, unless its scores exist."""
    out = _sounds.out / entry.group / f"{entry.name}_{seed}".replace(" ", "_").replace(",", "")
    settings = dict(entry.settings)
    taught = "embeddings" if "teacher" in settings else "labels"
    rate = LEARNING_RATE["teacher" if entry.group == "teachers" else taught]
    done, origin = out / "scores.json", json.loads(json.dumps({**asdict(entry), "rate": rate}))
    if done.exists() and (known := json.loads(done.read_text()))["origin"] == origin:
        return entry, seed, known["scores"], known["seconds"]
    begin = time.process_time()
    if (teacher := settings.get("teacher")) is not None:
        settings["teacher"] = {
            "class_path": "precomputed",
            "init_args": {"store": str(_sounds.out / teacher / entry.clips)},
        }
    settings["sampling"] = {"draws": EPOCH * BATCH, **settings.get("sampling", {})}
    if entry.steps:
        encoder: Encoder = distill.fit(
            data=str(_sounds.tables[entry.clips]), out=str(out), seed=seed, batch_size=BATCH,
            epochs=entry.steps // EPOCH, validation=0.0, overwrite=True,
            optimizer={"learning_rate": rate, "weight_decay": 1e-2},
            engine={"workers": 0, "accelerator": "cpu"}, **settings,
        )  # fmt: skip
    else:
        torch.manual_seed(seed)
        encoder = PocketNetwork(STUDENT).eval()
    seconds = time.process_time() - begin
    scores = probe(encoder)
    print(f"{entry.name}, seed {seed}: {scores}, {seconds:.0f} s", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    write_json(done, {"origin": origin, "scores": scores, "seconds": seconds})
    return entry, seed, scores, seconds


def stores(sounds: Sounds, teacher: Encoder) -> None:
    """Store the teacher's embeddings of every list, and those of the whole pool in a shuffled order."""
    folder = sounds.out / "teacher" / "balanced"
    with lock(folder, "benchmark"):
        fill_store(teacher, read_manifest(sounds.tables["balanced"]), folder, Crop(), BATCH)
    whole = EmbeddingStore(folder)
    vectors = dict(zip(whole.ids, whole.read_all(), strict=True))
    for name in LISTS[1:]:  # of the same clips, some of them repeated
        ids = [row.id for row in read_manifest(sounds.tables[name]).rows]
        listed = {clip: vectors[f"{clip.partition('@')[0]}@0"] for clip in ids}
        write_store(sounds.out / "teacher" / name, listed, whole.fingerprint)
    permuted = np.random.default_rng(0).permutation(whole.read_all())
    shuffled = dict(zip(whole.ids, permuted, strict=True))
    write_store(sounds.out / "shuffled" / "balanced", shuffled, {**whole.fingerprint, "order": "shuffled"})


def write_store(folder: Path, vectors: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Write a store of the vectors, by clip id, unless it exists."""
    ids = list(vectors)
    with lock(folder, "benchmark"):
        writer = StoreWriter(folder, ids, len(vectors[ids[0]]), fingerprint, "float16")
        for shard in writer.missing_shards():
            writer.write(shard, {ids[row]: vectors[ids[row]] for row in writer.rows(shard)}, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=Path, default=Path("pocket_sounds"))
    parser.add_argument("--out", type=Path, default=Path("pocket_runs"))
    parser.add_argument("--held_out", action="store_true", help="use other words, voices, sound fonts and classes")
    parser.add_argument(
        "--only", nargs="*", default=("students", "sampling", "losses"), help="groups of rows to measure"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    options = parser.parse_args()
    if not (options.sounds / "pocket.json").exists():
        check_tools()
    render(options.sounds, "small", 0, options.jobs, options.held_out)
    begin = time.perf_counter()
    folder, out = options.sounds.resolve(), options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    sounds = Sounds(folder, out)
    teacher = Entry("teachers", "teacher", STEPS["teacher"], "teacher", labelled(TEACHER, sounds.groups["teacher"]))
    with ProcessPoolExecutor(options.jobs, initializer=_begin, initargs=(folder, out)) as pool:
        jobs = [(entry, seed) for entry in entries(sounds) if entry.group in options.only for seed in SEEDS]
        first = pool.submit(measure, teacher, 0)
        begun: dict[str, list[Future[Measured]]] = {entry.name: [] for entry, _ in jobs}
        for entry, seed in jobs:
            if "teacher" not in entry.settings:  # trained at the same time as the teacher
                begun[entry.name].append(pool.submit(measure, entry, seed))
        plain = pool.submit(probe, MelStatistics())
        rows = [first.result()]
        encoder = distill.load(str(out / "teachers" / "teacher_0"))
        stores(sounds, encoder)
        for entry, seed in jobs:
            if "teacher" in entry.settings:
                begun[entry.name].append(pool.submit(measure, entry, seed))
        rows += [(Entry("teachers", "mel statistics", 0, "", {}), 0, plain.result(), 0.0)]
        rows += [run.result() for runs in begun.values() for run in runs]
    report(rows, options.held_out, PocketNetwork(TEACHER).parameter_count(), time.perf_counter() - begin)


Rows = Sequence[Measured]


def spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def report(rows: Rows, held_out: bool, parameters: int, seconds: float) -> None:
    """Write the table into its section of BENCHMARKS.md."""
    by_name: dict[str, list[tuple[dict[str, float], float]]] = {}
    steps = {}
    for entry, _, scores, taken in rows:
        by_name.setdefault(entry.name, []).append((scores, taken))
        steps[entry.name] = entry.steps
    means = {name: [statistics.mean(scores.values()) for scores, _ in runs] for name, runs in by_name.items()}
    whole = statistics.mean(means["teacher"])
    lines = [
        f"`python -m experiments.pocket.benchmark{' --held_out' if held_out else ''}`: linear probes, accuracy on",
        "test clips, mean and standard deviation over 3 seeds (teacher: one). The teacher is trained on the labels",
        f"of three times the pool. It has {parameters:,} parameters without its head, a student "
        f"{PocketNetwork(STUDENT).parameter_count():,}.",
        f"{seconds / 60:.0f} min after rendering.",
        "",
        f"| encoder | steps | {' | '.join(TASKS)} | mean | of the teacher | cpu s |",
        "|" + "---|" * (len(TASKS) + 5),
    ]
    for name, runs in by_name.items():
        cells = [spread([scores[task] for scores, _ in runs]) for task in TASKS]
        share = statistics.mean(means[name]) / whole
        taken = statistics.mean(taken for _, taken in runs)
        lines.append(
            f"| {name} | {steps[name] or ''} | {' | '.join(cells)} | {spread(means[name])} | {share:.2f} "
            f"| {taken:.0f} |"
        )
    write_section(f"The pocket benchmark{', held-out sounds' if held_out else ''}", lines)


if __name__ == "__main__":
    main()
