"""The share of the sound that a crop uses, in words."""

from __future__ import annotations

from collections.abc import Callable

from distill.data.clips.crop import Crop, Seconds

_MIN_SHARE = 0.99  # a larger share needs no word


def share_line(crop: Crop, seconds: Seconds, clips: str, advice: str) -> str:
    """Return a line that says which share of the sound was used. It is empty if almost all was used.

    Args:
        crop: Part of each clip that is used.
        seconds: Sound of the clips.
        clips: Which clips, such as "of sound".
        advice: How more is used.
    """
    if not crop.seconds or seconds.used >= _MIN_SHARE * seconds.available:
        return ""
    share = 100 * seconds.used / seconds.available
    return f"{crop.seconds:.1f} s of each clip: {share:.2g} % of {_text(seconds.available)} {clips} was used; {advice}"


def printing(crop: Crop, advice: str, clips: str = "of sound") -> Callable[[Seconds], None]:
    """Return a function that prints the line of some sound, if there is one, with the arguments of `share_line`."""

    def print_line(seconds: Seconds) -> None:
        if line := share_line(crop, seconds, clips, advice):
            print(line)

    return print_line


def _text(seconds: float) -> str:
    """Return a length of sound in its unit."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"
