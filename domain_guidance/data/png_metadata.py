"""A PNG file without the chunks that hold no picture, for decoders that stumble over them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What a picture is made of (PNG specification, third edition, 11): the critical chunks and transparency.
PICTURE = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
# EXIF says how the picture is turned; a damaged one is metadata trouble as any other.
ORIENTATION, LONGEST_EXIF = b"eXIf", 1 << 16
HEADER, CHECKSUM = 8, 4


class WithoutMetadata(io.RawIOBase):
    """A PNG file, open for reading, as it would be without texts, profiles and animation.

    Only the chunks' headers are read at first, so that a file of any size costs no memory. What follows a chunk that
    the file does not hold whole is passed on as it is.
    """

    def __init__(self, file: BinaryIO):
        super().__init__()
        self._file, self._parts, self._position = file, _parts(file), 0
        self._length = sum(stop - start for start, stop in self._parts)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer) -> int:
        behind = 0
        for start, stop in self._parts:
            within = self._position - behind
            behind += stop - start
            if within < stop - start:
                self._file.seek(start + within)
                data = self._file.read(min(len(buffer), stop - start - within))
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)
        return 0

    def read(self, size: int = -1) -> bytes:
        """As many bytes as there are up to `size`, as of a file that is buffered."""
        wanted = self._length - self._position if size < 0 else size
        found = []
        while wanted > 0 and (data := super().read(wanted)):
            found.append(data)
            wanted -= len(data)
        return b"".join(found)


def _parts(file: BinaryIO) -> list[tuple[int, int]]:
    """First and last position of every stretch to keep; neighbours are one."""
    end = file.seek(0, io.SEEK_END)
    parts, position = [(0, len(PNG_SIGNATURE))], len(PNG_SIGNATURE)
    while position + HEADER + CHECKSUM <= end:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(HEADER))
        behind = min(end, position + HEADER + length + CHECKSUM)
        if kind in PICTURE or (kind == ORIENTATION and _is_whole(file, length)):
            if parts[-1][1] == position:
                parts[-1] = (parts[-1][0], behind)
            else:
                parts.append((position, behind))
        position = behind
    return parts


def _is_whole(file: BinaryIO, length: int) -> bool:
    """Whether the chunk whose header was just read has the content that its checksum is of."""
    if length > LONGEST_EXIF:
        return False
    data, checksum = file.read(length), file.read(CHECKSUM)
    return len(checksum) == CHECKSUM and zlib.crc32(ORIENTATION + data) == struct.unpack(">I", checksum)[0]
