"""Audio encoders of transformers, by folder or hub id, such as wav2vec2, HuBERT, WavLM and Whisper's encoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows, by_length
from distill.data.errors import UserError, first_line, require_one_of
from distill.teachers.layers import COMBINATIONS, LATER_OPTIONS, combined, layer_numbers
from distill.teachers.pretrained import import_transformers, load_pretrained
from distill.teachers.teacher import Teacher

_OWN_TEACHERS = {"audio-spectrogram-transformer": "ast", "clap": "clap", "clap_audio_model": "clap"}
# A file may lack these, because they are not used: masks are for training only (wav2vec2-base-960h has none), and of
# an encoder and a decoder only the encoder is used (Whisper's classifiers have no decoder).
_UNUSED = ("masked_spec_embed", "decoder.")
_SHORTEST = 0.1  # seconds; below it convolutional front-ends have no output


class HubModel(Teacher):
    """An audio model of transformers that gives a sequence of hidden states. Sizes and frame rate are measured.

    The model's own feature extractor runs clip by clip, so it is slower than the teachers of this package. Clips of
    equal length are encoded together and others apart, because not every such model supports a mask. Frame times are
    correct to half a frame. The clip embedding is the mean over time.

    Args:
        checkpoint: Folder with config.json and preprocessor_config.json, or a hub id such as facebook/wav2vec2-base.
        revision: Commit of the hub id, which fixes the weights. None takes the newest.
        windows: How longer clips are cut.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the output of the whole network.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the model is missing, or its output is not a sequence over time.
    """

    later_options = LATER_OPTIONS
    licence = "that of the checkpoint, see its page"
    source = "any audio encoder on the hub, or a folder of it: --teacher.checkpoint ID_OR_DIR"

    def __init__(
        self,
        checkpoint: str,
        revision: str | None = None,
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        require_one_of("--teacher.combine", combine, COMBINATIONS)
        self._combine = combine
        self._where = f"--teacher.checkpoint {checkpoint}"
        loaded = load_pretrained(import_transformers().AutoModel, str(checkpoint), revision, optional=_UNUSED)
        if name := _OWN_TEACHERS.get(loaded.config.model_type):
            raise UserError(f"{self._where}: use --teacher {name}, which supports this model's tokens and times")
        if loaded.extractor is None or not getattr(loaded.extractor, "sampling_rate", None):
            raise UserError(
                f"{self._where}: is not an audio model: it must have a preprocessor_config.json with a sampling_rate"
            )
        self.provenance = loaded.provenance
        self.sample_rate = int(loaded.extractor.sampling_rate)
        self._extractor = loaded.extractor
        self.shaped_by = loaded.extractor.to_dict()
        self._input = loaded.model.main_input_name
        self.model = loaded.model.get_encoder() if loaded.config.is_encoder_decoder else loaded.model
        self.inner_layers = int(getattr(self.model.config, "num_hidden_layers", 0))
        self._layers = layer_numbers(layer, self.inner_layers)
        try:
            short, long = self._steps(1.0), self._steps(5.0)
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            kind = type(loaded.model).__name__
            raise UserError(
                f"{self._where}: a {kind} does not give hidden states from audio alone ({first_line(error)})"
            ) from error
        self._fixed = short == long
        span = getattr(loaded.extractor, "n_samples", 0) / self.sample_rate if self._fixed else 5.0
        if not span:
            raise UserError(f"{self._where}: gives {long} vectors for any length, but its extractor has no n_samples")
        if self._fixed:
            self.limit_windows(span)
        self._hop = span / long if self._fixed else 4.0 / (long - short)
        self._first = (span - (long - 1) * self._hop) / 2

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at the model's rate."""
        return by_length(self._encode, batch)

    def _encode(self, batch: AudioBatch) -> Embeddings:
        """Embed clips of one length."""
        frames = self._hidden(batch.waveform)
        seconds = batch.lengths / self.sample_rate
        steps = frames.shape[1]
        valid = torch.full_like(batch.lengths, steps)
        if self._fixed:
            valid = (seconds / self._hop).long().clamp(min=1, max=steps)
        times = self._first + torch.arange(steps, device=frames.device) * self._hop
        return Embeddings.of_frames(frames, times, frame_mask(valid, steps))

    def _hidden(self, waveform: Tensor) -> Tensor:
        """Return the hidden states (batch, time, dim) of clips of one length (batch, samples)."""
        waveform = F.pad(waveform, (0, max(0, round(_SHORTEST * self.sample_rate) - waveform.shape[1])))
        clips = [clip.numpy() for clip in waveform.cpu()]
        with torch.autocast(waveform.device.type, enabled=False), torch.autocast("cpu", enabled=False):
            inputs = self._extractor(clips, sampling_rate=self.sample_rate, return_tensors="pt")[self._input]
        wanted = {"output_hidden_states": True} if self._layers else {}
        outputs = self.model(**{self._input: inputs.to(waveform.device, self.dtype)}, **wanted)
        hidden = getattr(outputs, "last_hidden_state", None)
        if self._layers:  # the first of the states is the input of the first layer
            hidden = combined([outputs.hidden_states[number] for number in self._layers], self._combine)
        if hidden is None or hidden.dim() != 3:
            raise UserError(
                f"{self._where}: the output of a {type(self.model).__name__} is not a sequence of hidden states"
            )
        return hidden

    @torch.inference_mode()
    def _steps(self, seconds: float) -> int:
        """Return the number of hidden states of a clip of `seconds`."""
        return self._hidden(torch.zeros(1, round(seconds * self.sample_rate))).shape[1]
