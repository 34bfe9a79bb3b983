"""CLAP (LAION, Wu et al. 2023, arXiv 2211.06687): the audio tower, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.mel import DecibelMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError, require_one_of
from distill.teachers.clap_text import embed_texts
from distill.teachers.layers import COMBINATIONS, LATER_OPTIONS, LayerOutputs, combined, layer_numbers
from distill.teachers.pretrained import Pretrained, import_transformers, load_pretrained
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher

EMBEDDINGS = ("projected", "pooled")
PADDINGS = {"repeatpad": "repeat", "repeat": "fill", "pad": "zero"}  # our name of each name of transformers
_FILE_HINT = (
    "the authors' files are on the hub in this form: laion/clap-htsat-unfused, laion/clap-htsat-fused, "
    "laion/larger_clap_general, laion/larger_clap_music; convert your own by convert_clap_original_pytorch_to_hf.py "
    "of transformers 4"
)


class CLAP(Teacher):
    """CLAP's audio tower from a transformers folder or hub id: 48 kHz, HTSAT (Swin), 3.2 frames a second.

    The input of the network is always 10 s. Shorter clips are repeated and then zero-padded, as in training. Sample
    rate, mel bands, length and padding are those of the checkpoint's preprocessor_config.json. The official extractor
    crops longer clips at random and, in fused models, marks a random clip as long. Here equal input gives equal output.

    Args:
        checkpoint: Folder with config.json and model.safetensors, or a hub id.
        revision: Commit of the hub id, which fixes the weights. None takes the newest.
        embedding: The clip embedding: "projected" (512, in the space of CLAP's text embeddings) or "pooled" (768 or
            1024, before the projection).
        padding: How clips under 10 s are padded: "repeat" (as often as they fit whole, then zeros), "fill" (repeated up
            to the end) or "zero". It changes their embeddings a lot. None: as the checkpoint states.
        official: Use the official extractor. It is slow, and random for clips over 10 s and for fused models.
        windows: How longer clips are cut. With 0 seconds only the beginning is used; a fused model then gets the whole
            clip shrunk, and its beginning, middle and end, and its frame times are not valid.
        layer: Stage of the network whose output is the embedding, from 1 to 4 in the published models, or several.
            Each has twice the width and half the frames of the one before. None: as `embedding` states.
        combine: How several layers become one vector: "mean" (of one width) or "concat". They get the frames of the
            highest.

    Raises:
        UserError: the checkpoint is missing, damaged or not a CLAP, or the windows are longer than 10 s.
    """

    later_options = LATER_OPTIONS
    sample_rate = 48_000
    published = Published(28_190_872, 512, 768, 32 * 1000 / 1023 * 0.010)
    licence = "Apache-2.0"
    source = "hub: laion/clap-htsat-unfused, or a folder of it: --teacher.checkpoint DIR"

    def __init__(
        self,
        checkpoint: str = "laion/clap-htsat-unfused",
        revision: str | None = None,
        embedding: str = "projected",
        padding: str | None = None,
        official: bool = False,
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        require_one_of("--teacher.embedding", embedding, EMBEDDINGS)
        require_one_of("--teacher.combine", combine, COMBINATIONS)
        if padding is not None:
            require_one_of("--teacher.padding", padding, PADDINGS.values())
        transformers = import_transformers()
        loaded = load_pretrained(
            transformers.ClapAudioModelWithProjection,
            str(checkpoint),
            revision,
            ("clap", "clap_audio_model"),
            part="audio_config",
            file_hint=_FILE_HINT,
        )
        extractor = _extractor_of(loaded, f"--teacher.checkpoint {checkpoint}")
        self.provenance = loaded.provenance
        self.shaped_by = extractor.to_dict()
        self.embedding, self.official, self._extractor = embedding, official, extractor
        self.padding = padding or PADDINGS[extractor.padding]
        self.sizes = {"padding": self.padding}
        self.sample_rate = int(extractor.sampling_rate)
        self._samples = int(extractor.nb_max_samples)
        self.limit_windows(self._samples / self.sample_rate)
        self.fused = bool(loaded.model.config.enable_fusion)
        self.mel = DecibelMel(
            extractor.feature_size,
            extractor.frequency_min,
            extractor.frequency_max,
            slaney=extractor.truncation != "fusion",
            points=extractor.fft_window_size,
            hop=extractor.hop_length,
            sample_rate=self.sample_rate,
        )
        # The network stretches the spectra of its input to this number. Both ends stay.
        self._width = _input_width(loaded.model.config)
        self._seconds = self._samples // self.mel.hop * self.mel.hop / (self._width - 1) / self.sample_rate
        self.model = loaded.model
        self._checkpoint, self._revision = str(checkpoint), revision
        stages = loaded.model.audio_model.audio_encoder.layers
        self.inner_layers, self._combine = len(stages), combine
        numbers = layer_numbers(layer, self.inner_layers)
        if combine == "mean" and len({stages[number - 1].dim for number in numbers}) > 1:
            raise UserError("--teacher.combine mean: the layers of CLAP differ in width; use concat")
        # The last block of a stage, since the stage's own output is already merged to half the frames.
        self._outputs = LayerOutputs([stage.blocks[-1] for stage in stages], numbers)
        for stage in stages[max(numbers, default=len(stages)) :]:
            del stage.blocks[:]  # nothing needs them

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts in the space of the projected embeddings of sounds. Shape (texts, dim), float32.

        Raises:
            UserError: the teacher's embeddings are not the projected ones, or the checkpoint has no text tower.
        """
        if self.embedding != "projected" or self._outputs.numbers:
            chosen = "layer" if self._outputs.numbers else f"embedding {self.embedding}"
            raise UserError(f"--teacher.{chosen}: only projected embeddings share a space with texts")
        return embed_texts(self._checkpoint, self._revision, texts)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at the rate of the checkpoint, 48 kHz in the published ones."""
        features, longer = self._official_features(batch) if self.official else self.features(batch)
        outputs = self.model.audio_model(input_features=features.to(self.dtype), is_longer=longer)
        clip = outputs.pooler_output
        if self.embedding == "projected" and not self._outputs.numbers:
            clip = self.model.audio_projection(clip)
        # The feature map folds time: (batch, channels, 2 rows of frequency, 32 steps of time).
        frames = outputs.last_hidden_state.mean(2).transpose(1, 2)
        if self._outputs.numbers:
            frames = self._layer_frames()
            clip = frames.mean(1)
        stretched = self._width / frames.shape[1]  # spectra of a column of the feature map
        columns = torch.arange(frames.shape[1], device=frames.device)
        times = (stretched * columns + (stretched - 1) / 2) * self._seconds
        seconds = batch.lengths.unsqueeze(1) / self.sample_rate
        mask = (times < seconds) | (times == times[0])  # frames of repetitions are masked
        return Embeddings.of_frames(frames, times, mask, clip=clip)

    def _layer_frames(self) -> Tensor:
        """Return the frames (batch, time, dim) of the chosen stages in the present forward."""
        encoder = self.model.audio_model.audio_encoder
        parts = []
        for number, tokens in zip(self._outputs.numbers, self._outputs.take(), strict=True):
            rows, columns = encoder.input_resolutions[number - 1]
            # Rows hold the parts of a clip one after another, each with all its rows of frequency.
            grid = tokens.unflatten(1, (encoder.freq_ratio, rows // encoder.freq_ratio, columns))
            parts.append(grid.mean(2).flatten(1, 2))
        steps = min(part.shape[1] for part in parts)
        return combined([part.unflatten(1, (steps, -1)).mean(2) for part in parts], self._combine)

    def features(self, batch: AudioBatch) -> tuple[Tensor, Tensor]:
        """Return mel input (batch, 1, 1001, 64), (batch, 4, 1001, 64) for fused models, and which clips are long."""
        waveform = self._filled(batch)
        mel = self.mel(waveform).transpose(1, 2).unsqueeze(1)
        longer = batch.lengths.unsqueeze(1) > self._samples
        if not self.fused:
            return mel, longer
        mel = mel.repeat(1, 4, 1, 1)
        for row in longer.flatten().nonzero().flatten().tolist():
            mel[row] = self._fusion(batch.waveform[row : row + 1, : int(batch.lengths[row])])
        return mel, longer

    def _filled(self, batch: AudioBatch) -> Tensor:
        """Return the first 10 s; shorter clips are repeated as a whole, then zero-padded. Shape (batch, samples)."""
        lengths = batch.lengths.clamp(min=1, max=self._samples).unsqueeze(1)
        place = torch.arange(self._samples, device=lengths.device).expand(len(lengths), -1)
        repetitions = torch.ones_like(lengths) if self.padding == "zero" else self._samples // lengths
        if self.padding == "fill":
            repetitions = repetitions + 1
        waveform = F.pad(batch.waveform, (0, max(0, self._samples - batch.waveform.shape[1])))
        return waveform.gather(1, place % lengths).masked_fill(place >= repetitions * lengths, 0.0)

    def _fusion(self, waveform: Tensor) -> Tensor:
        """Return a long clip (1, samples) shrunk, and its beginning, middle and end. Shape (4, 1001, 64)."""
        mel = self.mel(waveform).transpose(1, 2)  # (1, time, bands)
        length = self._samples // self.mel.hop + 1
        shrunk = F.interpolate(mel.unsqueeze(1), (length, mel.shape[2]), mode="bilinear", align_corners=False)[0]
        spare = mel.shape[1] - length
        return torch.cat([shrunk, *(mel[:, start : start + length] for start in (0, spare // 2, spare))])

    def _official_features(self, batch: AudioBatch) -> tuple[Tensor, Tensor]:
        """Return the output of transformers' extractor, which draws from NumPy's global random state."""
        clips = [
            waveform[:length].cpu().numpy() for waveform, length in zip(batch.waveform, batch.lengths, strict=True)
        ]
        inputs = self._extractor(clips, sampling_rate=self.sample_rate, return_tensors="pt")
        device = batch.waveform.device
        return inputs["input_features"].float().to(device), inputs["is_longer"].to(device)


def _extractor_of(loaded: Pretrained, where: str) -> Any:
    """Return the feature extractor of a checkpoint. Raise UserError if it does not fit the network."""
    extractor, config = loaded.extractor, loaded.model.config
    if not isinstance(extractor, import_transformers().ClapFeatureExtractor):
        raise UserError(f"{where}: must have a preprocessor_config.json of CLAP")
    file = f"{where}: its preprocessor_config.json has"
    if extractor.padding not in PADDINGS:
        raise UserError(f"{file} padding {extractor.padding!r}; must be one of {', '.join(PADDINGS)}")
    if extractor.feature_size != config.num_mel_bins:
        raise UserError(f"{file} feature_size {extractor.feature_size}; the network takes {config.num_mel_bins} bands")
    spectra = int(extractor.nb_max_samples) // extractor.hop_length + 1
    if spectra > (width := _input_width(config)):
        raise UserError(f"{file} {spectra} spectra in max_length_s; the network takes at most {width}")
    return extractor


def _input_width(config: Any) -> int:
    """Return the number of spectra to which the network stretches its input."""
    return int(config.spec_size) * (int(config.spec_size) // int(config.num_mel_bins))
