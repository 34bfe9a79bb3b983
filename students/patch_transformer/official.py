"""EAT's and CAT's published weights: fairseq's keys, Hugging Face's, and ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import Tensor

from distill.data.encoders.checkpoint import Provenance, load_weights, provenance, read_state_dict
from distill.data.errors import UserError

if TYPE_CHECKING:
    from distill.students.patch_transformer.student import PatchTransformer

# Official beginnings of keys, and ours, in this order.
_RENAMED = (
    (r"modality_encoders\.IMAGE\.", ""),
    (r"context_encoder\.norm\.", "norm."),
    (r"pre_norm\.", "norm."),
    (r"local_encoder\.proj\.", "patches.proj."),
    (r"(patch_embed|conv_blocks|stage_output_decode)\.", r"patches.\1."),
    (r"extra_tokens", "first"),
    (r"head\.", "head.1."),
    (r"fc_norm\.", "head.0."),
)
_OURS = re.compile(r"(?:patches\.|norm\.|blocks\.|first$|head\.)")


def sizes_of(checkpoint: str) -> dict[str, Any]:
    """Sizes of an official encoder by the shapes of its tensors. Raises UserError."""
    state = _renamed(checkpoint)
    if "first" not in state or "norm.weight" not in state:
        raise UserError(
            f"--student.checkpoint {checkpoint}: no EAT or CAT encoder (it has no extra token or no first norm)"
        )
    sides, side = [], 1
    for stage in sorted(key for key in state if re.fullmatch(r"patches\.patch_embed\.\d\.proj\.weight", key)):
        side *= state[stage].shape[-1]
        sides.append(side)
    return {
        "hidden": state["first"].shape[2],
        "layers": 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
        "resolutions": tuple(sides),
    }


def load_official(student: PatchTransformer, checkpoint: str) -> Provenance:
    """Take the encoder's weights, and the head's where it has as many classes. Raises UserError."""
    state = _renamed(checkpoint)
    used = {key: tensor for key, tensor in state.items() if _OURS.match(key)}
    fits = student.head is not None and len(used.get("head.1.weight", ())) == student.head[1].out_features
    if not fits:
        used = {key: tensor for key, tensor in used.items() if not key.startswith("head.")}
    load_weights(student, used, f"--student.checkpoint {checkpoint}", ignore=() if fits else ("head.*",))
    return provenance(checkpoint, sorted(state.keys() - used.keys()))


def _renamed(checkpoint: str) -> dict[str, Tensor]:
    """The file's tensors by our keys; keys that we have no part for keep theirs."""
    ours = {}
    for key, tensor in read_state_dict(checkpoint, "--student.checkpoint").items():
        name = key.removeprefix("model.")
        for official, new in _RENAMED:
            name = re.sub(f"^{official}", new, name)
        ours[name] = tensor
    return ours
