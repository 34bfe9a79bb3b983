"""EAT (Chen et al. 2024, arXiv 2401.03497) as a teacher: its official weights in the student `patch_transformer`."""

from __future__ import annotations

from distill.data.audio.frames import frame_mask
from distill.data.audio.kaldi import KaldiFbank
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders import audioset
from distill.data.encoders.checkpoint import read_state_dict, without_prefix
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.students.patch_transformer.official import official_encoder
from distill.students.patch_transformer.student import PatchTransformer
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher


class EAT(Teacher):
    """EAT from an official file (base or large): 16 kHz, Kaldi fbank, 16 x 16 patches, 6.25 frames a second.

    The clip embedding is the first token, the authors' utterance. A frame embedding is the mean of its column of
    patches. Files of CAT work too. A file that was fine-tuned on AudioSet also gives logits.

    Args:
        checkpoint: The file of fairseq, or the model.safetensors of the hub.
        heads: Number of attention heads. 0 means one for each 64 of width, as in the published models.
        frames: Number of spectra to which each clip is padded with zeros or cut, a multiple of 16: 1024 in training,
            which the authors advise for clips of less than 10 s too. 0 pads to the next whole patch.
        windows: How longer clips are cut.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last. With a layer there are no
            logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the file is damaged or of another model, the windows are longer than `frames`, or `heads` or `frames`
            do not fit the network.
    """

    sample_rate = 16_000
    published = Published(85_254_144, 768, 768, 0.16)
    licence = "MIT (the authors' repository)"
    source = (
        "model.safetensors of worstchan/EAT-base_epoch30_pretrain on the hub, or the files in "
        "github.com/cwx-worst-one/EAT: --teacher.checkpoint FILE"
    )

    def __init__(
        self,
        checkpoint: str,
        heads: int = 0,
        frames: int = 0,
        windows: Windows = Windows(),
        layer: int | list[int] | None = None,
        combine: str = "mean",
    ) -> None:
        super().__init__(windows)
        where = f"--teacher.checkpoint {checkpoint}"
        tensors = without_prefix(read_state_dict(checkpoint, "--teacher.checkpoint"), "blocks.0.norm1.weight", where)
        official = official_encoder(tensors, checkpoint, where)
        sizes, classes = official.sizes, official.classes
        heads, side = heads or max(1, sizes["hidden"] // 64), (sizes["resolutions"] or (16,))[-1]
        if heads < 1 or sizes["hidden"] % heads:
            raise UserError(f"--teacher.heads {heads}: must divide the width {sizes['hidden']}")
        if frames < 0 or frames % side:
            raise UserError(f"--teacher.frames {frames}: must be a multiple of the patch, {side}")
        model = PatchTransformer(**sizes, heads=heads, frames=frames, classes=classes)
        self.provenance = official.load(model, classes)
        self.model = model
        if frames:
            self.limit_windows(_fbank(model).samples(frames) / self.sample_rate)
        if self.take_layers(model.blocks, model.last_norm, layer, combine):
            model.head = None
        if model.head is not None:
            self.labels, self._columns = audioset.columns_of(classes)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        found = self.model.encode(batch)
        # A student is trained on the padding of a fixed input too. A teacher's frame there would describe no sound.
        columns = (_fbank(self.model).frames(batch.lengths) // self.model.patch).clamp(min=1)
        found = found._replace(frame_mask=found.frame_mask & frame_mask(columns, found.frames.shape[1]))
        if self.model.head is None:
            return found
        return found._replace(logits=found.logits[:, self._columns.to(found.logits.device)])


def _fbank(model: PatchTransformer) -> KaldiFbank:
    assert isinstance(model.mel, KaldiFbank)  # 128 bands, the default
    return model.mel
