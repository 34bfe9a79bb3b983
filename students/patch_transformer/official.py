"""EAT's and CAT's published weights: map the keys of fairseq and Hugging Face to ours."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from distill.data.encoders.checkpoint import Provenance, load_weights, provenance, read_state_dict, without_wrappers
from distill.data.errors import UserError

# Official prefixes of keys, and ours. They are replaced in this order.
_PREFIXES = (
    (r"modality_encoders\.IMAGE\.", ""),
    (r"context_encoder\.norm\.", "norm."),
    (r"pre_norm\.", "norm."),
    (r"local_encoder\.proj\.", "patches.proj."),
    (r"(patch_embed|conv_blocks|stage_output_decode)\.", r"patches.\1."),
    (r"extra_tokens", "first"),
    (r"head\.", "head.1."),
    (r"fc_norm\.", "head.0."),
)
_STUDENT_KEYS = re.compile(r"(?:patches\.|norm\.|blocks\.|first$|head\.)")


def official_sizes(checkpoint: str) -> dict[str, Any]:
    """Return the sizes of an official encoder, from the shapes of its tensors.

    Args:
        checkpoint: Path of the file.

    Returns:
        The options `hidden`, `layers` and `resolutions` of `PatchTransformer`.

    Raises:
        UserError: the file cannot be read, or is not an EAT or CAT encoder.
    """
    state = _read_renamed(checkpoint)
    if "first" not in state or "norm.weight" not in state:
        raise UserError(
            f"--student.checkpoint {checkpoint}: not an EAT or CAT encoder (it has no extra token or no first norm)"
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


def load_official_encoder(student: nn.Module, checkpoint: str, classes: int) -> Provenance:
    """Load the encoder's weights, and those of the head if it has the same number of classes.

    Args:
        student: A `PatchTransformer`.
        checkpoint: Path of the file.
        classes: Number of classes of the student's head. 0 means that it has no head.

    Returns:
        The provenance of the weights.

    Raises:
        UserError: the file cannot be read, or its weights do not fit.
    """
    state = _read_renamed(checkpoint)
    used = {key: tensor for key, tensor in state.items() if _STUDENT_KEYS.match(key)}
    head_fits = classes > 0 and len(used.get("head.1.weight", ())) == classes
    if not head_fits:
        used = {key: tensor for key, tensor in used.items() if not key.startswith("head.")}
    load_weights(student, used, f"--student.checkpoint {checkpoint}", ignore=() if head_fits else ("head.*",))
    return provenance(checkpoint, sorted(state.keys() - used.keys()))


def _read_renamed(checkpoint: str) -> dict[str, Tensor]:
    """Return the file's tensors by our keys. Keys of parts that the student does not have stay the same."""
    ours = {}
    where = f"--student.checkpoint {checkpoint}"
    file = without_wrappers(read_state_dict(checkpoint, "--student.checkpoint"), where)
    for name, tensor in file.items():
        for official, new in _PREFIXES:
            name = re.sub(f"^{official}", new, name)
        ours[name] = tensor
    return ours
