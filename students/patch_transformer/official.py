"""EAT's and CAT's published weights: map the keys of fairseq and Hugging Face to ours and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from distill.data.encoders.checkpoint import Provenance, load_weights, provenance
from distill.data.errors import UserError

_MODALITY = "modality_encoders.IMAGE."  # fairseq has it, Hugging Face has not
# Starts of the official keys in fairseq's files, and of ours. Those of blocks are equal.
_STARTS = (
    (f"{_MODALITY}context_encoder.norm.", "norm."),
    (f"{_MODALITY}local_encoder.proj.", "patches.proj."),
    *((f"{_MODALITY}{part}.", f"patches.{part}.") for part in ("patch_embed", "conv_blocks", "stage_output_decode")),
    (f"{_MODALITY}extra_tokens", "first"),
    ("head.", "head.1."),
    ("fc_norm.", "head.0."),
)
_STUDENT_KEYS = re.compile(r"(?:patches\.|norm\.|blocks\.|first$|head\.)")


class OfficialEncoder(NamedTuple):
    """The weights of an official EAT or CAT encoder.

    Args:
        checkpoint: Path of the file.
        where: The option and value of the user, for messages.
        state: Tensors by our keys.
    """

    checkpoint: str
    where: str
    state: dict[str, Tensor]

    @property
    def sizes(self) -> dict[str, Any]:
        """The options `hidden`, `layers` and `resolutions` of `PatchTransformer`, from the shapes of the tensors."""
        sides, side = [], 1
        for stage in sorted(key for key in self.state if re.fullmatch(r"patches\.patch_embed\.\d\.proj\.weight", key)):
            side *= self.state[stage].shape[-1]
            sides.append(side)
        return {
            "hidden": self.state["first"].shape[2],
            "layers": 1 + max((int(key.split(".")[1]) for key in self.state if key.startswith("blocks.")), default=0),
            "resolutions": tuple(sides),
        }

    @property
    def classes(self) -> int:
        """Number of classes of a fine-tuned head. 0: there is none."""
        return len(self.state.get("head.1.weight", ()))

    def load(self, student: nn.Module, classes: int) -> Provenance:
        """Load the encoder's weights, and those of the head if it has the same number of classes.

        Args:
            student: A `PatchTransformer`.
            classes: Number of classes of the student's head. 0 means that it has no head.

        Returns:
            The provenance of the weights.

        Raises:
            UserError: the weights do not fit.
        """
        used = {key: tensor for key, tensor in self.state.items() if _STUDENT_KEYS.match(key)}
        head_fits = 0 < classes == self.classes
        if not head_fits:
            used = {key: tensor for key, tensor in used.items() if not key.startswith("head.")}
        load_weights(student, used, self.where, ignore=() if head_fits else ("head.*",))
        return provenance(self.checkpoint, sorted(self.state.keys() - used.keys()))


def official_encoder(tensors: Mapping[str, Tensor], checkpoint: str, where: str) -> OfficialEncoder:
    """Return the encoder of an official file. Keys of parts that the student does not have stay the same.

    Args:
        tensors: Tensors of the file by key, without the names of wrappers.
        checkpoint: Path of the file.
        where: The option and value of the user, for messages.

    Raises:
        UserError: the tensors are not those of an EAT or CAT encoder.
    """
    state = {_our_key(key): tensor for key, tensor in tensors.items()}
    if "first" not in state or "norm.weight" not in state:
        raise UserError(
            f"{where}: not an EAT or CAT encoder (it has no extra token or no first norm; the first key is "
            f"{next(iter(state))!r})"
        )
    return OfficialEncoder(checkpoint, where, state)


def official_key(key: str) -> str:
    """Return the key of fairseq's files for one of ours."""
    return next((official + key.removeprefix(ours) for official, ours in _STARTS if key.startswith(ours)), key)


def _our_key(key: str) -> str:
    """Return our key for an official one of fairseq or Hugging Face. Other keys stay, without the modality."""
    bare = re.sub(r"^pre_norm\.", "context_encoder.norm.", key.removeprefix(_MODALITY))
    starts = ((official.removeprefix(_MODALITY), ours) for official, ours in _STARTS)
    return next((ours + bare.removeprefix(official) for official, ours in starts if bare.startswith(official)), bare)
