"""AST, the Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778), through transformers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.data.frontend import KaldiFbank, frame_mask
from distill.teachers.teacher import Teacher


class AST(Teacher):
    """AST from a transformers folder or hub id: Kaldi fbank, 16 x 16 patches, 10 frames a second.

    A clip embedding is the mean of the class and distillation tokens; a frame is the mean of its column of patches.
    The network sees a fixed number of fbank frames (1,024, that is 10.25 s, in the published ones): shorter clips
    are zero-padded before normalisation, as in training, and of longer ones the beginning is used.

    Args:
        checkpoint: Folder with config.json and model.safetensors, or a hub id.
        revision: Commit of the hub id, so that the weights cannot change under the name.
    """

    sample_rate = 16_000
    licence = "BSD-3-Clause (MIT/ast-* weights)"
    source = "hub: MIT/ast-finetuned-audioset-10-10-0.4593 (or a folder of it: --teacher.checkpoint DIR)"

    def __init__(
        self, checkpoint: str = "MIT/ast-finetuned-audioset-10-10-0.4593", revision: str | None = None
    ) -> None:
        super().__init__()
        config, model, preprocessor = _load(str(checkpoint), revision)
        self.fbank = KaldiFbank(config.num_mel_bins, "hanning")
        self.model = model
        self._config = config
        self._mean = float(preprocessor.mean)
        self._std = float(preprocessor.std)

    @property
    def clip_dim(self) -> int:
        """Size of a clip's embedding: the width of the transformer."""
        return int(self._config.hidden_size)

    @property
    def frame_dim(self) -> int:
        """Size of a frame's embedding: the width of the transformer."""
        return int(self._config.hidden_size)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        config, valid = self._config, self.fbank.frames(batch.lengths)
        valid = valid.clamp(max=config.max_length)
        outputs = self.model.audio_spectrogram_transformer(self.spectrogram(batch))
        rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        columns = (config.max_length - config.patch_size) // config.time_stride + 1
        patches = outputs.last_hidden_state[:, 2:]  # (batch, rows * columns, dim), after the two class tokens
        frames = patches.unflatten(1, (rows, columns)).mean(1)
        steps = ((valid - config.patch_size) // config.time_stride + 1).clamp(min=1)
        centre = (config.patch_size - 1) / 2 * 0.010 + 0.0125  # of the first patch, in seconds
        times = centre + torch.arange(columns, device=frames.device) * config.time_stride * 0.010
        embeddings = Embeddings.of_frames(frames, times, frame_mask(steps, columns), clip=outputs.pooler_output)
        if self.model.classifier is None:
            return embeddings
        return embeddings._replace(logits=self.model.classifier(outputs.pooler_output))

    def spectrogram(self, batch: AudioBatch) -> Tensor:
        """Normalised fbank of the fixed length that the network wants. Shape (batch, max_length, bands)."""
        length = self._config.max_length
        samples = (length - 1) * KaldiFbank.hop + KaldiFbank.window_samples
        fbank = self.fbank(batch.waveform[:, :samples])
        outside = ~frame_mask(self.fbank.frames(batch.lengths), fbank.shape[1])
        fbank = fbank.masked_fill(outside.unsqueeze(2), 0.0)
        fbank = torch.nn.functional.pad(fbank, (0, 0, 0, length - fbank.shape[1]))
        return (fbank - self._mean) / (2 * self._std)


def _load(checkpoint: str, revision: str | None):  # type: ignore[no-untyped-def]  # transformers' own types
    """Config, network and feature extractor of a checkpoint, or one line that says what is wrong with it."""
    from transformers import ASTFeatureExtractor, ASTForAudioClassification, AutoConfig

    where = f"--teacher.checkpoint {checkpoint}"
    if Path(checkpoint).is_file():
        raise UserError(f"{where}: a transformers folder or hub id is wanted, not a file")
    if checkpoint.startswith((".", "/", "~")) and not Path(checkpoint).is_dir():
        raise UserError(f"{where}: no such folder")
    try:
        config = AutoConfig.from_pretrained(checkpoint, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: no transformers checkpoint there ({_first_line(error)})") from error
    if config.model_type != "audio-spectrogram-transformer":
        raise UserError(f"{where}: a checkpoint of {config.model_type!r}, not of an AST")
    try:
        model, report = ASTForAudioClassification.from_pretrained(
            checkpoint,
            config=config,
            revision=revision,
            output_loading_info=True,
            trust_remote_code=False,
            weights_only=True,
        )
    except Exception as error:  # transformers, safetensors, pickle and zip each raise their own
        raise UserError(f"{where}: its weights cannot be read ({_first_line(error)})") from error
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("classifier")):
        raise UserError(f"{where}: {len(missing)} weights are missing, {missing[0]!r} first; is it an AST?")
    if report["missing_keys"]:
        model.classifier = None  # a random head would give random logits
    try:
        preprocessor = ASTFeatureExtractor.from_pretrained(checkpoint, revision=revision)
    except OSError:
        preprocessor = ASTFeatureExtractor()  # the published statistics of AudioSet
    return config, model, preprocessor


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
