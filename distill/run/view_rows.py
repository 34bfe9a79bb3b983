"""A row for each view of each clip, instead of one for the clip."""

from __future__ import annotations

import math

from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.views import Views
from distill.data.clips.windows import in_views
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.recordings import LONG_SECONDS
from distill.data.errors import UserError
from distill.data.store.format import forecast_bytes


def view_rows(
    encoder: Encoder, manifest: Manifest, views: Views, crop: Crop, dtype: str = "float16", frames: bool = False
) -> Manifest:
    """Return a manifest with a row for each view of each clip, and print the size of their store.

    Args:
        encoder: Encoder of the views.
        manifest: The clips.
        views: Settings of the views.
        crop: Part of each clip that is embedded.
        dtype: Data type of the stored embeddings.
        frames: Whether the embeddings of frames are stored too.

    Raises:
        UserError: there is no view to change, the crop is too long to be changed at once, or a clip has the name of a
            view, or there is no other clip to mix with.
    """
    if views.count == 1:
        if views.gain or views.roll or views.mixup:
            raise UserError(
                "--views.gain, --views.roll and --views.mixup need --views.count 2 or more: the first view has no "
                "changes"
            )
        return manifest
    if not 0 < crop.seconds <= LONG_SECONDS:
        raise UserError(f"--views: --crop.seconds {crop.seconds:g} must be above 0 and at most {LONG_SECONDS:g}")
    numbers = encoder.clip_dim
    if frames and encoder.frame_hop:
        numbers += encoder.frame_dim * math.ceil(crop.seconds / encoder.frame_hop)
    viewed = in_views(manifest, views)
    size = forecast_bytes(len(viewed), numbers, dtype) / 2**20
    print(
        f"views: {views.count} of each of {len(manifest):,} clips, so {len(viewed):,} embeddings and "
        f"{views.count} times the bytes of one view: {'at most ' if frames else ''}{size:,.1f} MiB"
    )
    return viewed
