"""CED (Dinkel et al. 2024, arXiv 2308.11957): taggers of AudioSet with Dasheng's network and square patches."""

from __future__ import annotations

from distill.teachers.dasheng import Dasheng
from distill.teachers.published import Published


class CED(Dasheng):
    """CED from an official file (tiny, mini, small, base): 16 kHz, 16 x 16 patches, 6.25 frames a second, logits.

    The network is Dasheng's. A frame embedding is the mean of its column of four patches. The clip embedding is their
    mean, before the head of AudioSet's classes. Spectra of more than 10.08 s are encoded in parts.

    Args:
        checkpoint: The file, such as audiotransformer_base_mAP_4999.pt, or the model.safetensors of mispeech/ced-base.
        heads: Number of attention heads. 0 means as the file states; if it does not, as in the published models.
        windows: How longer clips are cut.
        layer: Layer whose output is the embedding, from 1 on, or several. None: the last, after its
            norm. With a layer there are no logits.
        combine: How several layers become one vector: "mean" or "concat".

    Raises:
        UserError: the file is damaged or of another model.
    """

    patch_bands = 16
    published = Published(85_711_759, 768, 768, 0.16)
    source = (
        "audiotransformer_base_mAP_4999.pt of zenodo.org/records/8275347, or model.safetensors of mispeech/ced-base on "
        "the hub: --teacher.checkpoint FILE"
    )
