"""Run the real evaluation kits on a tiny student and a tiny local task, offline. `make kits` calls it.

    python experiments/kits/run.py [--install] [--out .kits] [hear-validator heareval xares mteb sentence-transformers]

`--install` puts what pip cannot install beside this package into OUT: kits that pin old versions of NumPy or TensorFlow
are installed without their requirements, and TensorFlow, which only non-PyTorch models need, is an empty module. The
student has random weights, so its scores say nothing about students: they show that the kits accept and use it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

import distill
from distill.students.saved import save_student

HERE = Path(__file__).parent
PACKAGES = {
    "hear": (
        "hearvalidator==2021.0.2 heareval==2021.1.3 intervaltree sortedcontainers more-itertools nvidia-ml-py "
        "torchinfo python-slugify text-unidecode"
    ),
    "xares": "xares==0.1.3 loguru jiwer rapidfuzz webdataset braceexpand pytorch-ignite pandas python-dateutil six",
}
SPLITS = ("train", "valid", "test")
RATE, CLIPS, TONES = 48_000, 16, (300.0, 2500.0)  # Hz, clips of each split, Hz of the two classes


def clips(split: str) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield name, class and samples of clips of 1 s: a tone of one of two pitches in noise."""
    generator = np.random.default_rng(SPLITS.index(split))
    time = np.arange(RATE) / RATE
    for number in range(CLIPS):
        label = number % len(TONES)
        tone = 0.2 * np.sin(2 * np.pi * TONES[label] * generator.uniform(0.8, 1.2) * time)
        yield f"{split}_{number:02}", label, (tone + 0.05 * generator.standard_normal(RATE)).astype(np.float32)


def random_student() -> distill.Student:
    """Return a student with random weights, at 32 kHz and with frames every 16 ms."""
    torch.manual_seed(0)
    student = distill.create_student("bc_resnet", width=1.0)
    with torch.no_grad():  # otherwise its embeddings are of the size 1e-4, which classifiers of kits cannot separate
        student.last[-2].weight.fill_(1e4)
    return student


def write_hear_tasks(folder: Path) -> None:
    """Write a scene task and an event task in the layout of HEAR."""
    for kind in ("scene", "event"):
        task = folder / f"tones-{kind}"
        task.mkdir(parents=True)
        (task / "labelvocabulary.csv").write_text("idx,label\n0,low\n1,high\n")
        metadata = {
            "task_name": task.name, "version": "v1", "embedding_type": kind, "splits": list(SPLITS),
            "prediction_type": "multiclass" if kind == "scene" else "multilabel", "sample_duration": 1.0,
            "split_mode": "trainvaltest", "evaluation": ["top1_acc"],
        }  # fmt: skip
        (task / "task_metadata.json").write_text(json.dumps(metadata))
        for split in SPLITS:
            sounds = task / str(RATE) / split
            sounds.mkdir(parents=True)
            labels = {}
            for name, label, samples in clips(split):
                sf.write(sounds / f"{name}.wav", samples, RATE)
                word = ("low", "high")[label]
                labels[f"{name}.wav"] = [word] if kind == "scene" else [{"start": 200, "end": 700, "label": word}]
            (task / f"{split}.json").write_text(json.dumps(labels))


def write_xares_tars(folder: Path) -> None:
    """Write the tars of X-ARES, and the file by which it knows that they are complete."""
    folder.mkdir(parents=True)
    for split in SPLITS:
        with tarfile.open(folder / f"{split}_00.tar", "w") as tar:
            for name, label, samples in clips(split):
                sound = io.BytesIO()
                sf.write(sound, samples, RATE, format="WAV")
                for suffix, content in (("wav", sound.getvalue()), ("json", json.dumps({"label": label}).encode())):
                    member = tarfile.TarInfo(f"{name}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    (folder / ".audio_tar_ready").touch()


def install(out: Path) -> None:
    """Install the kits into folders of OUT."""
    for kit, packages in PACKAGES.items():
        command = [sys.executable, "-m", "pip", "install", "-q", "--upgrade", "--no-deps", "--target", str(out / kit)]
        subprocess.run([*command, *packages.split()], check=True)
    stubs = out / "stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / "tensorflow.py").write_text("class Module:\n    pass\n")


def prepare(work: Path) -> None:
    """Write the student, the tasks, and the modules that name the student."""
    save_student(random_student(), work / "student", "# A student with random weights\n")
    write_hear_tasks(work / "tasks")
    write_xares_tars(work / "env" / "tones")
    distill.export(str(work / "student"), str(work / "hear_student.py"), format="hear")
    (work / "student_encoder.py").write_text(
        "from distill.adapters.xares import encoder_class\n\nTinyEncoder = encoder_class('student')\n"
    )
    (work / "tones_task.py").write_text((HERE / "xares_task.py").read_text())


def commands() -> dict[str, tuple[str, list[str]]]:
    """Return the folder of packages and the command of each kit, which runs in the folder of `prepare`."""
    python = [sys.executable]
    return {
        "hear-validator": ("hear", [*python, "-m", "hearvalidator.validate", "hear_student"]),
        "heareval": ("hear", [*python, "-m", "heareval.embeddings.runner", "hear_student", "--task", "all"]),
        "xares": ("xares", [*python, str(HERE / "xares_run.py"), "student_encoder.py", "tones_task.py"]),
        "mteb": ("", [*python, str(HERE / "mteb_run.py"), "student"]),
        "sentence-transformers": ("", [*python, str(HERE / "sentences_run.py"), "student"]),
    }


def run(kit: str, out: Path, work: Path) -> bool:
    """Run a kit, write what it prints to OUT/KIT.log, and print its last line. Return whether it ended well."""
    folder, command = commands()[kit]
    path = [str(HERE.parents[1]), str(work), str(out / "stubs"), *([str(out / folder)] if folder else [])]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "MTEB_CACHE": str(work / "mteb")}
    environment = {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "default"}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    (out / f"{kit}.log").write_text(f"{done.stdout}\n--- standard error ---\n{done.stderr}")
    lines = [line for line in (done.stderr if done.returncode else done.stdout).splitlines() if line.strip()]
    print(f"{kit}: {'' if not done.returncode else 'FAILED: '}{lines[-1] if lines else 'no output'}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Run the kits that are named, or all. Return 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kits", nargs="*", help="kits to run; none: all")
    parser.add_argument("--out", type=Path, default=Path(".kits"), help="folder for packages and logs")
    parser.add_argument("--install", action="store_true", help="install the kits into this folder first")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if given.install:
        install(out)
    work = Path(tempfile.mkdtemp(prefix="run", dir=out))  # new, because the kits skip what they have stored
    prepare(work)
    ended_well = [run(kit, out, work) for kit in given.kits or commands()]
    return int(not all(ended_well))


if __name__ == "__main__":
    sys.exit(main())
