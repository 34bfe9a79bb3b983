"""Run MTEB's classification of audio on the tones. The last line has its main score."""

from __future__ import annotations

import sys
from pathlib import Path

import mteb
from datasets import Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification

sys.path.insert(0, str(Path(__file__).parent))
from run import RATE, clips

from distill.adapters.mteb import StudentEncoder


class Tones(AbsTaskClassification):
    """The task of two classes."""

    input_column_name = "audio"
    samples_per_label = 4
    n_experiments = 2
    metadata = mteb.TaskMetadata(
        name="Tones", description="Tones of two pitches.", reference=None, type="AudioClassification", category="a2c",
        modalities=["audio"], eval_splits=["test"], eval_langs=["zxx-Zxxx"], main_score="accuracy",
        dataset={"path": "local/tones", "revision": "0"}, date=None, domains=None, task_subtypes=None, license=None,
        annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation=None,
    )  # fmt: skip

    def load_data(self, *args: object, **options: object) -> None:
        """Make the clips, in place of a download."""
        rows = {
            split: [
                {"audio": {"array": samples, "sampling_rate": RATE}, "label": label}
                for _, label, samples in clips(split)
            ]
            for split in ("train", "test")
        }
        self.dataset = DatasetDict({split: Dataset.from_list(part) for split, part in rows.items()})
        self.data_loaded = True


result = mteb.evaluate(StudentEncoder(sys.argv[1]), tasks=[Tones()], cache=None)
print(f"mteb {mteb.__version__}: {result.task_results[0].task_name} accuracy {result.task_results[0].get_score():.3f}")
