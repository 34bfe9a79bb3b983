"""What a header says about the sound and what the file holds: WAV, RF64, W64, AIFF, CAF, AU, NIST SPHERE and OGG.

Recorders that died leave sizes of 0. Writers to a pipe do not know the length and write the largest number. Many
programs count the bytes wrong. So the size of the sound is compared with the bytes that are there, and the size of the
whole file is not looked at.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from distill.data.audio.parts import ReadAt
from distill.data.audio.splice import AS_IT_IS, View

HEAD_BYTES = 512  # of a file that `view` gets; most headers are shorter
_MAX_CHUNKS = 10_000
_SLACK = 64  # bytes; some writers count the header or a pad byte as sound
_NEAR = 1 << 12  # bytes; writers of unknown length round the largest number down to whole blocks
_LARGE = (1 << 31) - _NEAR  # bytes; a size below it is no mark of an unknown length
_MAX_SIZE = 1 << 32  # of a WAV; longer ones need the header of RF64
_RF64 = (b"RF64", b"BW64")
_SPHERE = (b"sample_count", b"channel_count", b"sample_n_bytes")
_MAX_OGG_PAGE = 27 + 255 + 255 * 255  # bytes
_NO_FIELD = struct.Struct("")


class _Layout(NamedTuple):
    """How a format writes chunks: a name, a size, the content.

    Args:
        first: Offset of the first chunk.
        name: Name of the chunk that holds the sound.
        width: Bytes of a chunk's name, of which the first four tell.
        size: The size.
        counted: Whether the size counts the name and itself.
        before: Bytes of the chunk's content that precede the sound.
        align: Chunks start at a multiple of so many bytes.
    """

    first: int
    name: bytes
    width: int
    size: struct.Struct
    counted: bool = False
    before: int = 0
    align: int = 2


_RIFF = _Layout(12, b"data", 4, struct.Struct("<I"))
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"RIFX": _RIFF._replace(size=struct.Struct(">I")),
    b"FORM": _Layout(12, b"SSND", 4, struct.Struct(">I"), before=8),
    b"riff": _Layout(40, b"data", 16, struct.Struct("<Q"), counted=True, align=8),
    b"caff": _Layout(8, b"data", 4, struct.Struct(">q"), before=4, align=1),
}
_AU_SIZES = {b".snd": struct.Struct(">I"), b"dns.": struct.Struct("<I")}


class _Sound(NamedTuple):
    """Where the sound lies.

    Args:
        start: Offset of its first byte.
        promised: Its bytes, as the header states.
        field: Offset of the number in the file.
        form: Form of the number.
        extra: What the number counts beside the sound.
    """

    start: int
    promised: int
    field: int
    form: struct.Struct
    extra: int


def view(head: bytes, read_at: ReadAt, size: int) -> View:
    """Return how a file should be read, so that a wrong header neither hides sound nor promises too much.

    Args:
        head: The first `HEAD_BYTES` of the file.
        read_at: Reads the file.
        size: Bytes of the file.
    """
    if head[:4] == b"OggS":
        return View(missing=_missing_in_ogg(read_at, size))
    sound = _find_sound(head, read_at, size)
    if sound is None:
        return AS_IT_IS
    present = max(0, size - sound.start)
    if 0 < sound.promised <= present < _LARGE:
        return AS_IT_IS
    promised = None if _is_unknown(sound) else sound.promised
    if promised is not None and promised > present + _SLACK:
        missing = f"the header promises {promised} bytes of sound, the file has {present}"
        return View(_with_size(sound, head, size) if head[:4] == b"caff" else None, missing)
    if _is_wrapped(head, present, promised) or (promised is None and present > sound.promised):
        return View(_with_size(sound, head, size))
    if (promised is None and head[:4] not in _RF64) or (promised is not None and promised > 0):
        return AS_IT_IS  # libsndfile reads to the end of the file
    if present == 0 or _are_chunks(head, read_at, sound.start, size):
        return AS_IT_IS  # a file without sound
    return View(_with_size(sound, head, size))


def is_blank(head: bytes) -> bool:
    """Return whether a file begins with zeros: a recorder that writes its header at the end died before."""
    return len(head) >= 44 and not any(head[:44])


def with_flac_length(head: bytes, size: int, samples: int) -> View:
    """Return a FLAC that states its number of samples."""
    packed = int.from_bytes(head[18:26], "big") >> 36 << 36 | samples  # rate, channels and bits stay
    return View([range(18), packed.to_bytes(8, "big"), range(26, size)])


def _missing_in_ogg(read_at: ReadAt, size: int) -> str | None:
    """Return how an OGG file is cut off. None: its last page is whole."""
    begin = max(0, size - _MAX_OGG_PAGE)
    tail = read_at(begin, size - begin)
    page = tail.rfind(b"OggS\0")
    header = tail[page : page + 27] if page >= 0 else b""
    segments = tail[page + 27 : page + 27 + header[26]] if len(header) == 27 else b""
    end = begin + page + 27 + (header[26] if segments else 0) + sum(segments)
    return f"its last page ends at byte {end}, the file at byte {size}" if page >= 0 and end > size else None


def _find_sound(head: bytes, read_at: ReadAt, size: int) -> _Sound | None:
    """Return where the sound lies. None for other formats and for headers without it."""
    kind = head[:4]
    if kind in _AU_SIZES and len(head) >= 12:
        form = _AU_SIZES[kind]
        return _Sound(form.unpack_from(head, 4)[0], form.unpack_from(head, 8)[0], 8, form, 0)
    if kind == b"NIST":
        return _in_sphere(head)
    layout = _LAYOUTS.get(kind)
    if layout is None:
        return None
    for name, field, length in _chunks(layout, head, read_at, layout.first, size):
        if name == layout.name:
            content = field + layout.size.size
            counted = content - field + layout.width if layout.counted else 0
            if kind in _RF64 and length == 0xFFFFFFFF and head[12:16] == b"ds64" and len(head) >= 36:
                length = struct.unpack_from("<Q", head, 28)[0]
            return _Sound(content + layout.before, length - layout.before, field, layout.size, layout.before + counted)
    return None


def _in_sphere(head: bytes) -> _Sound | None:
    """Return the sound of a NIST SPHERE file. Its size is not a number at a fixed place, so the field is empty."""
    words = [re.search(rb"\n%s -i (\d{1,12})\s" % name, head) for name in _SPHERE]
    start = re.match(rb"NIST_1A\n\s*(\d{1,6})\n", head)
    if start is None or None in words or b"-s3 pcm\n" not in head:
        return None
    promised = math.prod(int(word[1]) for word in words if word)
    return _Sound(int(start[1]), promised, 0, _NO_FIELD, 0)


def _chunks(layout: _Layout, head: bytes, read_at: ReadAt, start: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, the offset of its size, and its size. The last one may be cut off."""
    width = layout.width + layout.size.size
    for _ in range(_MAX_CHUNKS):
        if start + width > size:
            return
        header = head[start : start + width] if start + width <= len(head) else read_at(start, width)
        if len(header) < width:
            return
        length = layout.size.unpack_from(header, layout.width)[0] - (width if layout.counted else 0)
        yield header[:4], start + layout.width, length
        if length < 0:
            return
        start += width + length
        start += -start % layout.align


def _is_unknown(sound: _Sound) -> bool:
    """Return whether a size means that the writer did not know it."""
    number = sound.promised + sound.extra
    return number >= (1 << 62) or any(
        limit - _NEAR <= number <= limit + _NEAR for limit in (1 << 31, 1 << 32) if sound.form.size == 4
    )


def _is_wrapped(head: bytes, present: int, promised: int | None) -> bool:
    """Return whether a WAV has more sound than its size can say."""
    if head[:4] != b"RIFF" or present < _MAX_SIZE - _NEAR:
        return False
    return promised is None or promised == 0 or (present > promised and (present - promised) % _MAX_SIZE == 0)


def _are_chunks(head: bytes, read_at: ReadAt, start: int, size: int) -> bool:
    """Return whether the rest of a file consists of chunks, which follow a sound of no length."""
    layout = _LAYOUTS.get(head[:4])
    if layout is None or layout.width != 4:
        return False
    end = start
    for name, field, length in _chunks(layout, b"", read_at, start, size):
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        end = field + layout.size.size + length
    return size - 8 < end <= size + 1


def _with_size(sound: _Sound, head: bytes, size: int) -> list[bytes | range]:
    """Return the file with the right size of the sound. A WAV of 4 GiB and more gets the header of RF64."""
    present, after = size - sound.start, sound.field + sound.form.size
    if head[:4] in _RF64 or (head[:4] == b"RIFF" and present >= _MAX_SIZE):
        begin = 20 + struct.unpack_from("<I", head, 16)[0] if head[12:16] == b"ds64" else 12
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, size + 28, present, 0, 0)
        return [b"RF64\xff\xff\xff\xffWAVE" + ds64, range(begin, sound.field), b"\xff" * 4, range(after, size)]
    limit = 1 << (8 * sound.form.size - (sound.form.format == ">q"))
    return [range(sound.field), sound.form.pack(min(present + sound.extra, limit - 1)), range(after, size)]
