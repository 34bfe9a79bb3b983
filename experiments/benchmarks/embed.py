"""Time `distill embed` against a user's loop with transformers, and what comes before the network alone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
import torchaudio
from measure import ROOT, Row, paired, processor, several_in_turns, table, write_section
from sgemm import products, sgemm_seconds

from distill import create_teacher
from distill.data.audio.kaldi import KaldiFbank
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import read_manifest
from distill.data.files import lock
from distill.data.sampling.batches import Draws
from distill.run.embeddings import fill_store
from distill.run.precision import Arithmetic
from distill.teachers.teacher import Teacher

SECONDS, FILE_RATE, BATCH = 10, 44_100, 8
DECODED = 8  # clips of the batch that is only decoded


class Rival(NamedTuple):
    """A user's objects of transformers. `take` returns the embeddings (clips, dim) from the model's output."""

    extractor: Any
    model: Any
    take: Callable[[Any], torch.Tensor]


def sounds(folder: Path, clips: int) -> Path:
    """Write tones in noise as FLAC."""
    generator, seconds = np.random.default_rng(0), np.arange(SECONDS * FILE_RATE) / FILE_RATE
    folder.mkdir()
    for clip in range(clips):
        tone = 0.3 * np.sin(2 * np.pi * generator.uniform(100, 4000) * seconds)
        samples = tone + generator.uniform(0.005, 0.05) * generator.standard_normal(len(seconds))
        soundfile.write(folder / f"{clip:03d}.flac", samples, FILE_RATE)
    return folder


def decoded(files: list[Path], rate: int) -> list[np.ndarray]:
    """Decode and resample as a user does."""
    clips = []
    for file in files:
        samples, file_rate = soundfile.read(file, dtype="float32")
        clips.append(torchaudio.functional.resample(torch.from_numpy(samples), file_rate, rate).numpy())
    return clips


def user_loop(rival: Rival, folder: Path, out: Path) -> np.ndarray:
    """Embed a folder with transformers, in batches, and save the embeddings."""
    files, found, rate = sorted(folder.iterdir()), [], rival.extractor.sampling_rate
    for first in range(0, len(files), BATCH):
        clips = decoded(files[first : first + BATCH], rate)
        inputs = rival.extractor(clips, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            found.append(rival.take(rival.model(**inputs)).numpy())
    embeddings = np.concatenate(found)
    np.save(out, embeddings)
    return embeddings


def ast(folder: Path) -> tuple[Teacher, Rival]:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, ASTModel

    ASTForAudioClassification(ASTConfig()).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    model = ASTModel.from_pretrained(folder).eval()
    return create_teacher("ast", checkpoint=str(folder)), Rival(
        ASTFeatureExtractor(), model, lambda output: output.pooler_output
    )


def clap(folder: Path) -> tuple[Teacher, Rival]:
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

    extractor = ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    extractor.save_pretrained(folder)
    ClapAudioModelWithProjection(ClapAudioConfig(num_hidden_layers=4)).save_pretrained(folder)
    model = ClapAudioModelWithProjection.from_pretrained(folder).eval()
    return create_teacher("clap", checkpoint=str(folder)), Rival(extractor, model, lambda output: output.audio_embeds)


def whisper(folder: Path) -> tuple[Teacher, Rival]:
    """Return Whisper of the size "base"."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    sizes = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
    others = {"decoder_layers": 1, "decoder_attention_heads": 8}
    WhisperModel(WhisperConfig(**sizes, **others)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    encoder = WhisperModel.from_pretrained(folder).get_encoder().eval()
    taken = SECONDS * 50  # states of the sound, without those of the padding
    return create_teacher("transformers", checkpoint=str(folder)), Rival(
        WhisperFeatureExtractor(), encoder, lambda output: output.last_hidden_state[:, :taken].mean(1)
    )


CASES = {"AST": (ast, 4), "CLAP": (clap, 16), "Whisper base": (whisper, 8)}  # with the number of clips


def against_transformers(name: str, folder: Path) -> list[Row]:
    """Compare the whole command, without loading the model, in float32, and in bfloat16 where the processor has it."""
    torch.manual_seed(0)
    build, clips = CASES[name]
    teacher, rival = build(folder / "model")
    data, numbers = sounds(folder / "sounds", clips), iter(range(1000))
    manifest = read_manifest(data)

    def embed(arithmetic: Arithmetic) -> np.ndarray:
        path = folder / f"store{next(numbers)}"
        with lock(path, "benchmark"):
            store = fill_store(
                teacher, manifest, path, Crop(), BATCH, dtype="float32", device="cpu", arithmetic=arithmetic
            )
        return store[[row.id for row in manifest.rows]]

    def loop() -> np.ndarray:
        return user_loop(rival, data, folder / "user.npy")

    theirs = loop()
    np.testing.assert_allclose(embed(Arithmetic()), theirs, atol=2e-4 * float(np.abs(theirs).max()))
    rows_of_batch = list(range(min(BATCH, clips)))
    batch = ClipDataset(manifest, teacher.sample_rate, Crop()).__getitems__(Draws(rows_of_batch, rows_of_batch)).batch
    assert batch is not None
    alone = sgemm_seconds(products(lambda: teacher(batch))) * clips / len(batch)
    sides: list[Callable[[], object]] = [lambda: embed(Arithmetic())]
    if any(name in processor() for name in ("avx512_bf16", "amx")):
        sides.append(lambda: embed(Arithmetic("bfloat16")))
    measured, theirs_seconds = several_in_turns(sides, loop)
    case = f"`embed`, {name}, {clips} clips of {SECONDS} s, {FILE_RATE / 1000:g} kHz FLAC"
    rival_name = "15 lines of transformers, float32"
    seconds, ratio = measured[0]
    full = Row(f"{case}, float32", seconds, theirs_seconds, 1.15, rival_name, ratio, "s", alone / seconds, 0.8)
    fewer = [Row(f"{case}, bfloat16", seconds, theirs_seconds, 2, rival_name, ratio) for seconds, ratio in measured[1:]]
    return [full, *fewer]


@torch.inference_mode()
def before_the_network(folder: Path) -> Row:
    """Compare decoding, resampling and the front-end of AST alone."""
    from transformers import ASTFeatureExtractor

    data, extractor = sounds(folder / "sounds", DECODED), ASTFeatureExtractor()
    files, numbers = sorted(data.iterdir()), list(range(DECODED))
    clips = ClipDataset(read_manifest(data), 16_000, Crop())
    fbank = KaldiFbank(128, "hanning", mean=extractor.mean, scale=2 * extractor.std)

    def ours() -> torch.Tensor:
        batch = clips.__getitems__(Draws(numbers, numbers)).batch
        assert batch is not None
        return fbank.of_length(batch.waveform, batch.lengths, extractor.max_length)

    def rival() -> torch.Tensor:
        return extractor(decoded(files, 16_000), sampling_rate=16_000, return_tensors="pt")["input_values"]

    torch.testing.assert_close(ours(), rival(), atol=1e-3, rtol=1e-4)
    seconds, theirs, ratio = paired(ours, rival, 11)
    case = f"decoding, resampling and front-end of AST alone, {DECODED} clips of {SECONDS} s"
    return Row(case, seconds, theirs, 2.5, "soundfile, torchaudio, ASTFeatureExtractor", ratio)


NOTE = """
`embed` writes its store, with fsync; the user's loop writes one .npy. Both models are loaded before. They have random
weights of the published sizes, use all cores and keep freed memory. Embeddings are equal to 2e-4 of the largest. "Of
sgemm": the time of all products of the network alone, by torch.matmul, as a share of the time of the whole command.
"""


def main() -> None:
    sys.path.insert(0, str(ROOT))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        rows.append(before_the_network(Path(folder)))
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            rows += against_transformers(name, Path(folder))
        print(*table(rows), sep="\n", flush=True)
    write_section("Embedding", [*table(rows), *NOTE.rstrip().splitlines()], "embed")


if __name__ == "__main__":
    main()
