"""Where the frames of an MP3 file lie, and how many there are.

libsndfile takes the number of frames from the Xing header of the first frame. Without one, it guesses the number from
the size of the file and the first bit rate. A cover picture then counts as sound, and a file of variable bit rate
loses its end without a word. So the frames are counted here, and a Xing header with their number is put before them.
"""

from __future__ import annotations

import re
import struct
from functools import cache
from typing import NamedTuple

from distill.data.audio.parts import ReadAt
from distill.data.audio.splice import AS_IT_IS, KnownViews, View
from distill.data.errors import AudioError

_WINDOW = 1 << 20  # bytes that are searched at a time
_MAX_GAP = 1 << 20  # bytes between two frames that may be no frames
_MAX_GAPS = 1000
_CHAIN = 3  # frames in a row that cannot be there by chance
_MIN_SHARE = 0.98  # of the promised frames
_MAX_ERROR = 0.01  # of the bytes in a Xing header; above it, libsndfile prints warnings
_SHORT = 1 << 13  # bytes of a few frames
_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")  # texts and pictures after the sound
_LAYER_3 = 1
_RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1
_KILOBITS = {  # (MPEG 1 or not, layer bits): per second, for each index
    (True, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_known = KnownViews()


class _Frame(NamedTuple):
    """A frame: its bytes, and what the frames of one stream share: version, layer, rate, and mono or stereo."""

    size: int
    kind: tuple[int, int, int, bool]

    @property
    def side(self) -> int:
        """Bytes of the side information of layer III, which precede a Xing header."""
        is_mpeg_1, is_mono = self.kind[0] == 3, self.kind[3]
        return (17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17)


class _Xing(NamedTuple):
    """A Xing header: where it lies in its frame, and the numbers of frames and bytes that it states."""

    at: int
    frames: int
    bytes: int


class _Scan(NamedTuple):
    """The ranges of a file that hold frames one after another, and the number of frames."""

    ranges: tuple[range, ...]
    frames: int


def view(head: bytes, read_at: ReadAt, size: int, identity: object = None) -> View:
    """Return how an MP3 file should be read. `AS_IT_IS` for other files and for files with a right Xing header.

    Args:
        head: The first bytes of the file; 10 are enough.
        read_at: Reads the file.
        size: Bytes of the file.
        identity: What differs between files. A process counts the frames of a file once. None: each time.

    Raises:
        AudioError: there is the header of a frame, but there are no frames.
    """
    start = _after_tags(head, read_at, size)
    if start == 0 and _frame_at(head, 0) is None:
        return AS_IT_IS
    first = read_at(start, 2048)
    frame = _frame_at(first, 0)
    if frame is None and start and not _may_follow_tags(first):
        return AS_IT_IS
    xing = _find_xing(first, frame) if frame else None
    if xing and abs(size - start - xing.bytes) <= _MAX_ERROR * xing.bytes:
        return AS_IT_IS
    found = _known.get(identity, lambda: _scanned(read_at, size, start, xing))
    if found is AS_IT_IS and frame is not None:  # libsndfile would print warnings
        raise AudioError("truncated" if xing else "unrecognised_format", "no MPEG frames after the first header")
    return found


def salvage(read_at: ReadAt, size: int) -> View:
    """Return how to read a stream that begins inside a frame. `AS_IT_IS` if there are no frames."""
    return _scanned(read_at, size, 0, None)


def _scanned(read_at: ReadAt, size: int, start: int, xing: _Xing | None) -> View:
    """Return how to read the frames of a file, with the right number in front."""
    scan = _scan(read_at, size, start)
    if scan is None:
        return AS_IT_IS
    begin, stop = scan.ranges[0].start, scan.ranges[-1].stop
    first = read_at(begin, 2048)
    frame = _frame_at(first, 0)
    if frame is None:  # the file changes while it is read
        return AS_IT_IS
    missing = _missing(read_at, size, begin, stop)
    if xing is None or begin != start:
        return View((_xing_frame(first, scan), *scan.ranges), missing)
    frames = scan.frames - 1  # without that of the Xing header
    if frames < _MIN_SHARE * xing.frames:
        missing = f"the header promises {xing.frames} MPEG frames, the file has {frames}"
    numbers = struct.pack(">II", frames, stop - begin)
    corrected = first[: xing.at + 8] + numbers + first[xing.at + 16 : frame.size]
    return View((corrected, range(begin + frame.size, scan.ranges[0].stop), *scan.ranges[1:]), missing)


def _missing(read_at: ReadAt, size: int, begin: int, stop: int) -> str | None:
    """Return what is wrong with the end of a file. None: nothing."""
    rest = size - stop
    if rest <= max(4096, (1 - _MIN_SHARE) * (stop - begin)) or read_at(stop, 16).startswith(_TAGS):
        return None
    return f"its MPEG frames end at byte {stop} of {size}"


def _after_tags(head: bytes, read_at: ReadAt, size: int) -> int:
    """Return where the ID3 tags at the start of a file end. 0: there are none."""
    start = 0
    while head[:3] == b"ID3" and len(head) >= 10:
        length = 0
        for byte in head[6:10]:  # 7 bits each
            length = length << 7 | byte & 0x7F
        start += 10 + length + (10 if head[5] & 0x10 else 0)  # with a footer
        if start >= size:
            return 0
        head = read_at(start, 10)
    return start


def _may_follow_tags(content: bytes) -> bool:
    """Return whether what follows ID3 tags may be MP3: other formats that libsndfile reads have a name there."""
    return not content.startswith((b"fLaC", b"RIFF", b"OggS", b"FORM", b".snd", b"caff"))


def _find_xing(first: bytes, frame: _Frame) -> _Xing | None:
    """Return the Xing header of the first frame of a file, if it states the frames and the bytes."""
    for at in (4 + frame.side, 6 + frame.side):  # a checksum takes 2 bytes
        if frame.kind[1] == _LAYER_3 and first[at : at + 4] in (b"Xing", b"Info") and len(first) >= at + 16:
            flags, frames, size = struct.unpack_from(">III", first, at + 4)
            if flags & 3 == 3 and frames and size:
                return _Xing(at, frames, size)
    return None


def _xing_frame(first: bytes, scan: _Scan) -> bytes:
    """Return a frame with a Xing header that fits to the first frame of a stream. Empty for layers I and II."""
    for index in range(1, 15):
        header = bytes([0xFF, first[1] | 1, index << 4 | first[2] & 0x0C, first[3]])  # no checksum, no padding
        frame = _frame_at(header, 0)
        if frame and frame.kind[1] == _LAYER_3 and frame.size >= 4 + frame.side + 16:
            size = frame.size + sum(map(len, scan.ranges))
            content = header + bytes(frame.side) + b"Xing" + struct.pack(">III", 3, scan.frames, size)
            return content.ljust(frame.size, b"\0")
    return b""


def _scan(read_at: ReadAt, size: int, start: int) -> _Scan | None:
    """Find the frames of a file from a place on. None: there are none."""
    ranges: list[range] = []
    total, kind, place = 0, None, start
    while len(ranges) < _MAX_GAPS:
        begin = _find_chain(read_at, size, place, kind)
        if begin is None:
            break
        frames, place, kind = _count(read_at, size, begin)
        total += frames
        ranges.append(range(begin, place))
    return _Scan(tuple(ranges), total) if ranges else None


def _find_chain(read_at: ReadAt, size: int, start: int, kind: tuple[int, int, int, bool] | None) -> int | None:
    """Return where frames of a kind begin at or soon after a place. Kind None: any."""
    content = read_at(start, min(_MAX_GAP, size - start))
    for match in _SYNC.finditer(content):
        frame = _frame_at(content, match.start())
        if frame is None or (kind is not None and frame.kind != kind):
            continue
        begin = start + match.start()
        frames, stop, _ = _count(read_at, size, begin, _CHAIN)
        if frames == _CHAIN or (begin == start and kind is None and (frames > 1 or (frames and stop == size))):
            return begin
    return None


def _count(
    read_at: ReadAt, size: int, start: int, most: int | None = None
) -> tuple[int, int, tuple[int, int, int, bool] | None]:
    """Return the number of frames of one kind in a row, where they end, and their kind."""
    content, base, place, frames, kind = b"", start, start, 0, None
    while frames != most:
        at = place - base
        if at + 4 > len(content):
            content, base, at = read_at(place, _WINDOW if most is None else _SHORT), place, 0
        frame = _frame_at(content, at)
        if frame is None or (kind is not None and frame.kind != kind) or place + frame.size > size:
            break
        kind = frame.kind
        place += frame.size
        frames += 1
    return frames, place, kind


def _frame_at(content: bytes, at: int) -> _Frame | None:
    """Return the frame whose header lies at a place. None: there is no frame."""
    if len(content) < at + 4 or content[at] != 0xFF:
        return None
    return _frame(content[at + 1], content[at + 2] & 0xFE, content[at + 3] >> 6 == 3)


@cache
def _frame(second: int, third: int, is_mono: bool) -> _Frame | None:
    version, layer, index, rate = second >> 3 & 3, second >> 1 & 3, third >> 4, third >> 2 & 3
    if second < 0xE0 or version == 1 or layer == 0 or rate == 3 or index in (0, 15):  # reserved, or of any size
        return None
    is_mpeg_1 = version == 3
    hertz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits, padding = 1000 * _KILOBITS[is_mpeg_1, layer][index], third >> 1 & 1
    if layer == 3:
        size = (12 * bits // hertz + padding) * 4
    else:
        size = (72 if layer == _LAYER_3 and not is_mpeg_1 else 144) * bits // hertz + padding
    return _Frame(size, (version, layer, rate, is_mono))
