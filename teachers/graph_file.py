"""Teachers that are files of graphs: from waveform to embeddings, of clips or of frames, by a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask, remove_mean
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import provenance, split_part
from distill.data.encoders.windows import Windows, by_length
from distill.data.errors import UserError, as_text
from distill.teachers.graph import GraphFacts, Port, input_form
from distill.teachers.graph_roles import measure
from distill.teachers.graph_runtime import Graph
from distill.teachers.teacher import Teacher

_EMBEDDINGS = ("embedding", "embeddings")  # the names that exporters of bird models give to them


class GraphFile(Teacher):
    """A graph in a file, which a runtime computes on the CPU. A subclass names the runtime.

    The metadata of the file state what `distill export` writes; options state or replace it. A tensor (batch, dim)
    has clips. A tensor (batch, time, dim) has frames, whose mean is the clip embedding. If the input has a fixed
    length, clips are cut into windows of it, and shorter ones are padded with zeros.

    Args:
        checkpoint: The file. Files with weights that it names must lie in its folder.
        sample_rate: Sample rate of the input, in Hz.
        output: Output or inner tensor with the embeddings of clips or frames.
        frames: Output or inner tensor with the frames, if `output` has the clips.
        logits: Output or inner tensor with the class scores.
        layout: Dimensions of the input, if the file does not state them: "samples", "batch,samples" or
            "batch,1,samples".
        level: Level of each window: "none" (samples in [-1, 1] as they are), "standard" (mean 0, variance 1), or
            "peak=NUMBER" (scaled to this largest sample).
        windows: How longer clips are cut. None: the fixed length of the input, or what the file states, or 10 s.
        input: Input of samples, if there are several. Another one must take one number: the sample rate if its name
            says so, otherwise 0.
        licence: Licence of the weights, for the cards of students.

    Raises:
        UserError: the file is not a graph from waveform to embeddings, or a value is unknown.
    """

    licence = "that of the file"
    later_options: Mapping[str, Any] = MappingProxyType({"input": None})
    graph_class: ClassVar[type[Graph]]

    def __init__(
        self, checkpoint: str, sample_rate: int | None = None, output: str | None = None, frames: str | None = None,
        logits: str | None = None, layout: str | None = None, level: str | None = None, windows: Windows | None = None,
        input: str | None = None, licence: str | None = None,
    ) -> None:  # fmt: skip
        where = f"--teacher.checkpoint {as_text(checkpoint)}"
        graph = self.graph_class(split_part(checkpoint)[0], where)
        facts = GraphFacts.of(graph.metadata, where).with_options(
            sample_rate=sample_rate,
            output=output,
            frames=frames,
            logits=logits,
            layout=layout,
            level=level,
            licence=licence,
        )
        listed = f"{where} has {graph.listed()}"
        port = graph.sound_input(input)
        form = input_form(port, facts, listed)
        super().__init__(Windows(form.window_seconds) if windows is None else windows)
        self.sample_rate, self.provenance = form.sample_rate, provenance(checkpoint)
        if form.longest is not None:
            self.limit_windows(form.longest / form.sample_rate)
        self.licence = facts.licence or self.licence
        chosen = [_output(graph, facts, listed), facts.frames, facts.logits]
        names = list(dict.fromkeys(name for name in chosen if name is not None))
        self.graph = graph.open(names, port.name, form.sample_rate)
        if external := graph.digests():
            self.shaped_by = {"external_data": external}
        self._facts, self._form, self._names = facts, form, names
        self._measured = measure(self.graph.run, names, form, facts, listed)
        self._check_roles(listed)
        self._set_labels(listed)
        self.reading = self._reading(port)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at the rate of the file."""
        if (limit := self._form.longest) is not None:  # without windows, only the beginning is used
            batch = replace(batch, waveform=batch.waveform[:, :limit], lengths=batch.lengths.clamp(max=limit))
        return self._encode(batch) if self._form.samples else by_length(self._encode, batch)

    def _encode(self, batch: AudioBatch) -> Embeddings:
        """Embed clips that become equally long by padding."""
        waveform = levelled(batch, self._facts)
        shortest = self._measured.shortest
        waveform = F.pad(waveform, (0, max(0, shortest - waveform.shape[1])))
        found = self._computed(waveform)
        output = found[self._names[0]]
        frames = output if output.dim() == 3 else found.get(self._facts.frames or "")
        embeddings = Embeddings.of_clip(output)
        if frames is not None:
            clip = output if output.dim() == 2 else None
            embeddings = self._of_frames(frames, batch.lengths, waveform.shape[1], clip)
        logits = found.get(self._facts.logits or "")
        return embeddings if logits is None else embeddings._replace(logits=logits)

    def _of_frames(self, frames: Tensor, lengths: Tensor, samples: int, clip: Tensor | None) -> Embeddings:
        """Return the embeddings of frames (batch, time, dim) of clips that were padded to `samples`."""
        steps, hop = frames.shape[1], self._measured.hop
        times = self._measured.first + torch.arange(steps, device=frames.device) * hop
        # A tenth of a frame, since a hop in samples may be rounded.
        valid = (lengths / (hop * self.sample_rate) + 0.1).long().clamp(min=1, max=steps)
        return Embeddings.of_frames(
            frames, times, frame_mask(valid.masked_fill(lengths == samples, steps), steps), clip
        )

    def _computed(self, waveform: Tensor) -> dict[str, Tensor]:
        """Compute the tensors of clips (batch, samples), by name: (batch, dim) or (batch, time, dim)."""
        samples: NDArray[np.float32] = waveform.float().cpu().numpy()
        rows = self._measured.rows or len(samples)
        parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self._names}
        for start in range(0, len(samples), rows):
            part = samples[start : start + rows]
            for name, value in zip(self._names, self.graph.run(self._form.arranged(part)), strict=True):
                parts[name].append(self._measured.roles[name].of_rows(value)[: len(part)])
        return {
            name: torch.from_numpy(np.concatenate(values)).to(waveform.device, self.dtype)
            for name, values in parts.items()
        }

    def _check_roles(self, where: str) -> None:
        """Raise UserError if a tensor has another role than the user or the file states."""
        roles, facts = self._measured.roles, self._facts
        if facts.frames is not None and roles[facts.frames].time_axis is None:
            raise UserError(f"--teacher.frames {facts.frames}: has no frames, but a vector for each clip: {where}")
        if facts.frames is not None and roles[self._names[0]].time_axis is not None:
            raise UserError(f"--teacher.frames {facts.frames}: {self._names[0]!r} has frames too; omit one: {where}")
        if facts.logits is not None and roles[facts.logits].time_axis is not None:
            raise UserError(f"--teacher.logits {facts.logits}: must have a row for each clip, not frames: {where}")

    def _set_labels(self, where: str) -> None:
        """Name the columns of the logits: as the file states, or by numbers."""
        if self._facts.logits is None:
            return
        columns = self._probe.logits.shape[1]
        labels = self._facts.labels or tuple(map(str, range(columns)))
        if len(labels) != columns:
            raise UserError(f"its metadata state {len(labels)} labels for {columns} class scores: {where}")
        self.labels = labels

    def _reading(self, port: Port) -> str:
        """Return what was understood of the file, for the terminal."""
        form, rows = self._form, self._measured.rows
        length = f"{form.samples} samples" if form.samples else "any length"
        batch = "in batches" if rows is None else "one by one" if rows == 1 else f"{rows} at a time"
        level = self._facts.level or "none"
        outputs = ", ".join(map(self._named, self._names))
        others = "".join(f", {name} = {value.item()}" for name, value in self.graph.constants.items())
        return f"input {port}, {length}, clips {batch}, level {level}{others}; output {outputs}"

    def _named(self, name: str) -> str:
        """Return a tensor with its role and sizes, for the terminal."""
        *time, dim = self._measured.sizes[name]
        if not time:
            return f"{name} (clips of {dim} numbers)"
        count = f"{time[0]} " if self._form.samples else ""
        return f"{name} ({count}frames of {dim} numbers)"


def _output(graph: Graph, facts: GraphFacts, where: str) -> str:
    """Return the name of the tensor with the embeddings. Raises UserError if it is unknown."""
    names = [port.name for port in graph.outputs]
    found = [facts.output] if facts.output else names if len(names) == 1 else [n for n in names if n in _EMBEDDINGS]
    if len(found) != 1:
        raise UserError(f"--teacher.output NAME is required, since there are several outputs: {where}")
    return found[0]


def levelled(batch: AudioBatch, facts: GraphFacts) -> Tensor:
    """Return the samples (batch, samples) at the level that the graph expects. Padding stays 0."""
    waveform, peak = batch.waveform, facts.peak
    if peak is not None:
        return waveform * (peak / waveform.abs().amax(1, keepdim=True).clamp(min=1e-8))
    if facts.level != "standard":
        return waveform
    centred = remove_mean(waveform, batch.lengths)
    variance = centred.square().sum(1, keepdim=True) / batch.lengths.unsqueeze(1)
    return centred / (variance + 1e-7).sqrt()
