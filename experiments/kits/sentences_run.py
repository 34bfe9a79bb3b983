"""Encode, compare, save and load with sentence-transformers. The last line has the difference after loading."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import sentence_transformers
from sentence_transformers import SentenceTransformer

sys.path.insert(0, str(Path(__file__).parent))
from run import RATE, clips

from distill.adapters.sentence_transformers import StudentModule

sounds = [{"array": samples, "sampling_rate": RATE} for _, _, samples in clips("test")][:4]
model = SentenceTransformer(modules=[StudentModule(sys.argv[1])])
found = model.encode(sounds)
assert found.shape == (4, model.get_embedding_dimension())
similar = model.similarity(found, found)[0]
model.save("saved")
# The switch is the user's: sentence-transformers wants it for each class of another package.
again = [SentenceTransformer(folder, trust_remote_code=True).encode(sounds) for folder in ("saved", sys.argv[1])]
difference = np.abs(np.stack(again) - found).max()
print(
    f"sentence-transformers {sentence_transformers.__version__}: {found.shape}, similarity of one class "
    f"{float(similar[2]):.3f}, of two {float(similar[1]):.3f}; after save and load {difference:.1e}"
)
