"""AST, the Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778), through transformers."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask
from distill.data.audio.kaldi import KaldiFbank
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import audioset
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.teachers.layers import LATER_OPTIONS
from distill.teachers.pretrained import Pretrained, import_transformers, load_pretrained
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher
from distill.teachers.transformer import frames_of

_FILE_HINT = (
    "the authors' files are on the hub in this form: MIT/ast-finetuned-audioset-10-10-0.4593; convert your own by "
    "convert_audio_spectrogram_transformer_original_to_pytorch.py of transformers 4"
)


class AST(Teacher):
    """AST from a transformers folder or hub id: Kaldi fbank, 16 x 16 patches, 10 frames a second.

    A clip embedding is the mean of the class and distillation tokens. A frame embedding is the mean of its column of
    patches. The input of the network has a fixed number of fbank frames (1,024 in the published files, 10.25 s).
    Shorter clips are zero-padded before normalisation, as in training.

    Args:
        checkpoint: Folder with config.json and model.safetensors, or a hub id.
        revision: Commit of the hub id, which fixes the weights. None takes the newest.
        windows: How longer clips are cut. With 0 seconds only the beginning is used, as in the official code.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last, after its
            norm. With a layer there are no logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the checkpoint is missing, damaged or not an AST, or the windows are longer than its input.
    """

    later_options = LATER_OPTIONS
    sample_rate = 16_000
    published = Published(86_594_063, 768, 768, 0.1)
    licence = "BSD-3-Clause"
    source = "hub: MIT/ast-finetuned-audioset-10-10-0.4593, or a folder of it: --teacher.checkpoint DIR"

    def __init__(
        self,
        checkpoint: str = "MIT/ast-finetuned-audioset-10-10-0.4593",
        revision: str | None = None,
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        transformers = import_transformers()
        loaded = load_pretrained(
            transformers.ASTForAudioClassification,
            str(checkpoint),
            revision,
            kinds=["audio-spectrogram-transformer"],
            optional=["classifier"],
            file_hint=_FILE_HINT,
        )
        where = f"--teacher.checkpoint {checkpoint}"
        self._config, self.provenance = loaded.config, loaded.provenance
        if loaded.missing:
            head = [key for key in loaded.model.state_dict() if key.startswith("classifier.")]
            if len(loaded.missing) < len(head):
                raise UserError(f"{where}: its head lacks {loaded.missing[0]!r}")
            loaded.model.classifier = None  # otherwise random weights would give logits
        mean, deviation = _statistics(loaded, where)
        self.shaped_by = {"mean": mean, "std": deviation}
        self.fbank = KaldiFbank(loaded.config.num_mel_bins, "hanning", mean=mean, scale=2 * deviation)
        self.limit_windows(self.fbank.samples(loaded.config.max_length) / self.sample_rate)
        self.model = loaded.model
        network = loaded.model.audio_spectrogram_transformer
        blocks = next(module for module in network.modules() if isinstance(module, nn.ModuleList))
        if self.take_layers(blocks, network.layernorm, layer, combine):
            self.model.classifier = None
        self._width = self._config.hidden_size * (len(layer) if isinstance(layer, list) and combine == "concat" else 1)
        if self.model.classifier is not None:
            self.labels, self._columns = audioset.in_mid_order(_labels(loaded.config.id2label))

    @property
    def clip_dim(self) -> int:
        """Size of a clip's embedding: the width of the transformer, for each concatenated layer."""
        return int(self._width)

    @property
    def frame_dim(self) -> int:
        """Size of a frame's embedding: that of a clip's."""
        return int(self._width)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        config, valid = self._config, self.fbank.frames(batch.lengths)
        valid = valid.clamp(max=config.max_length)
        outputs = self.model.audio_spectrogram_transformer(self.spectrogram(batch).to(self.dtype))
        rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        frames = frames_of(outputs.last_hidden_state[:, 2:], rows)  # after the two class tokens
        steps = ((valid - config.patch_size) // config.time_stride + 1).clamp(min=1)
        centre = (config.patch_size - 1) / 2 * 0.010 + 0.0125  # of the first patch, in seconds
        times = centre + torch.arange(frames.shape[1], device=frames.device) * config.time_stride * 0.010
        mask = frame_mask(steps, frames.shape[1])
        embeddings = Embeddings.of_frames(frames, times, mask, clip=outputs.pooler_output)
        if self.model.classifier is None:
            return embeddings
        logits = self.model.classifier(outputs.pooler_output)
        return embeddings._replace(logits=logits[:, self._columns.to(logits.device)])

    def spectrogram(self, batch: AudioBatch) -> Tensor:
        """Return normalised fbank of the network's fixed length. Shape (batch, max_length, bands)."""
        return self.fbank.of_length(batch.waveform, batch.lengths, self._config.max_length)


def _statistics(loaded: Pretrained, where: str) -> tuple[float, float]:
    """Return the mean and the standard deviation by which the checkpoint's own extractor normalises.

    Raises:
        UserError: the extractor computes another spectrogram than Kaldi's at 16 kHz.
    """
    extractor = loaded.extractor
    if extractor is None:
        warnings.warn(
            f"{where}: has no preprocessor_config.json; the mean and deviation of AudioSet are used", stacklevel=3
        )
        extractor = import_transformers().ASTFeatureExtractor()
    for name, expected in (("sampling_rate", AST.sample_rate), ("num_mel_bins", loaded.config.num_mel_bins)):
        if (found := getattr(extractor, name, expected)) != expected:
            raise UserError(f"{where}: its preprocessor_config.json has {name} {found}; must be {expected}")
    if not getattr(extractor, "do_normalize", True):
        return 0.0, 0.5  # the network's input is (logarithm - mean) / (2 * deviation)
    return float(extractor.mean), float(extractor.std)


def _labels(names: dict[int, str]) -> list[str]:
    """Return AudioSet mids if `names` are AudioSet's classes; otherwise the names, in the order of columns."""
    mids = {name: mid for mid, name in audioset.classes().items()}
    labels = [names[column] for column in sorted(names)]
    return [mids[name] for name in labels] if set(labels) == set(mids) else labels
