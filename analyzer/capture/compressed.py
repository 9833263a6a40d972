"""Decompressing streams: gzip, xz, zstd and lz4, in pieces of bounded size.

The compressed bytes go to the decompressor in pieces small enough that neither a bomb nor a corrupt place costs more
than one piece: what lies before the damage is handed on to the last byte, and where the stream breaks off is known.
"""

from __future__ import annotations

import lzma
import zlib
from typing import TYPE_CHECKING

from analyzer.errors import MissingDependency

if TYPE_CHECKING:
    import lz4.frame
    import zstandard

    from analyzer.capture.window import Stream

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
XZ_MAGIC = b"\xfd7zXZ\0"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
#: RFC 8878 section 3.1.2: 16 magic numbers of frames to skip.
_SKIPPABLE = {(0x184D2A50 + i).to_bytes(4, "little") for i in range(16)}

_PIECE = 64 * 1024
#: Output asked for at once of those formats whose corrupt piece is lost.
_SMALL_PIECE = 16 * 1024
#: The most memory that an xz stream may ask for: ``xz -9`` needs 65 MiB.
_XZ_MEMORY = 512 * 1024 * 1024
_CUT = "the {} stream breaks off"
_CORRUPT = "the {} stream is corrupt ({})"
_GARBAGE = "after the {} stream comes something else"


class CompressedStream:
    """What both formats share: compressed bytes in, and a store of decompressed bytes to hand out."""

    name = ""

    def __init__(self, source: Stream, prefix: bytes) -> None:
        self.damage: str | None = None
        self.waits = source.waits
        self._source = source
        self._input = bytearray(prefix)
        self._piece = bytearray(_PIECE)
        self._output = memoryview(b"")
        self._over = False

    def readinto(self, view: memoryview) -> int:
        """Hand out decompressed bytes; 0 at the end."""
        while not self._output and not self._over:
            self._output = memoryview(self._decompress())
        count = min(len(view), len(self._output))
        view[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def ready(self) -> bool:
        """Whether there are bytes to hand out; a pipe's compressed bytes may yet make no output."""
        return bool(self._output) or not self._source.waits

    def position(self) -> int:
        """Compressed bytes taken."""
        return self._source.position()

    def skip(self, count: int) -> int:  # noqa: ARG002  # as every stream
        """Nothing can be passed over unread."""
        return 0

    def close(self) -> None:
        """Close the compressed file."""
        self._source.close()

    def _decompress(self) -> bytes:
        """Return the next decompressed bytes, perhaps none."""
        raise NotImplementedError

    def _pass(self, length: int) -> bytes:
        """Pass over so many compressed bytes."""
        while length > len(self._input):
            length -= len(self._input)
            self._input.clear()
            if not self._more():
                return self._stop(_CUT)
        del self._input[:length]
        return b""

    def _more(self) -> bool:
        """Take more compressed bytes; False at their end."""
        count = self._source.readinto(memoryview(self._piece))
        self._input += memoryview(self._piece)[:count]
        return count > 0

    def _need(self, count: int) -> bool:
        """Take compressed bytes until there are ``count``."""
        while len(self._input) < count:
            if not self._more():
                return False
        return True

    def _take(self, count: int) -> bytes:
        taken = bytes(self._input[:count])
        del self._input[:count]
        return taken

    def _stop(self, damage: str | None = None, *words: object) -> bytes:
        self._over = True
        if damage is not None:
            self.damage = self._source.damage or damage.format(self.name, *words)
        return b""


class GzipStream(CompressedStream):
    """gzip (RFC 1952), also several members one after another."""

    name = "gzip"

    def __init__(self, source: Stream, prefix: bytes) -> None:
        super().__init__(source, prefix)
        self._inflate = zlib.decompressobj(wbits=31)
        self._started = False

    def _decompress(self) -> bytes:
        if self._inflate.eof:
            self._inflate = zlib.decompressobj(wbits=31)
            self._started = False
        if not self._input and not self._more():
            return self._stop(_CUT if self._started else None)
        if not self._started:
            # Members may be padded with zeros, as tapes were.
            while self._input and not any(self._input):
                self._input.clear()
                if not self._more():
                    return self._stop()
            padding = len(self._input) - len(self._input.lstrip(b"\0"))
            del self._input[:padding]
            if not self._need(2):
                return self._stop(_CUT)
            if not self._input.startswith(GZIP_MAGIC):
                return self._stop(_GARBAGE)
            self._started = True
        piece = self._take(_PIECE)
        before = self._inflate.copy()
        try:
            output = self._inflate.decompress(piece, 16 * _PIECE)
        except zlib.error as error:
            return self._rescue(before, piece, error)
        self._input[:0] = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        return output

    def _rescue(self, inflate: zlib._Decompress, piece: bytes, error: zlib.error) -> bytes:
        """Give the piece again, byte by byte: of one with a corrupt place zlib does not hand out the sound part."""
        rescued = bytearray()
        try:
            for i in range(len(piece)):
                rescued += inflate.decompress(piece[i : i + 1])
        except zlib.error:
            pass
        self._stop(_CORRUPT, str(error).rpartition(": ")[2])
        return bytes(rescued)


class ZstdStream(CompressedStream):
    """zstd (RFC 8878), also several frames one after another.

    It is given to the decompressor block by block: a block holds at most 128 KiB, whatever it claims.
    """

    name = "zstd"

    def __init__(self, source: Stream, prefix: bytes) -> None:
        super().__init__(source, prefix)
        try:
            import zstandard
        except ImportError as error:
            raise MissingDependency("a zstd capture needs the package zstandard: pip install zstandard") from error
        self._module = zstandard
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._checksum = False

    def _decompress(self) -> bytes:
        return self._block(self._frame) if self._frame else self._header()

    def _header(self) -> bytes:
        """Begin a frame, or pass over a skippable one."""
        if not self._input and not self._more():
            return self._stop()
        if not self._need(8):
            return self._stop(_CUT)
        magic = bytes(self._input[:4])
        if magic in _SKIPPABLE:
            return self._pass(8 + int.from_bytes(self._input[4:8], "little"))
        if magic != ZSTD_MAGIC:
            return self._stop(_GARBAGE)
        descriptor = self._input[4]
        single = descriptor >> 5 & 1
        length = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[descriptor >> 6]
        if not self._need(length):
            return self._stop(_CUT)
        self._checksum = bool(descriptor & 4)
        self._frame = self._module.ZstdDecompressor().decompressobj()
        return self._feed(self._frame, length)

    def _block(self, frame: zstandard.ZstdDecompressionObj) -> bytes:
        if not self._need(3):
            return self._stop(_CUT)
        word = int.from_bytes(self._input[:3], "little")
        last, repeated, size = word & 1, word >> 1 & 3 == 1, word >> 3
        if not self._need(length := 3 + (1 if repeated else size)):
            return self._stop(_CUT)
        output = self._feed(frame, length)
        if last and self._frame:
            if self._checksum:
                if not self._need(4):
                    self._stop(_CUT)
                else:
                    output += self._feed(frame, 4)
            self._frame = None
        return output

    def _feed(self, frame: zstandard.ZstdDecompressionObj, length: int) -> bytes:
        try:
            return frame.decompress(self._take(length))
        except self._module.ZstdError as error:
            self._frame = None
            return self._stop(_CORRUPT, str(error).rpartition(": ")[2])


class XzStream(CompressedStream):
    """xz (tukaani.org/xz/xz-file-format.txt), also several streams one after another, with padding between."""

    name = "xz"

    def __init__(self, source: Stream, prefix: bytes) -> None:
        super().__init__(source, prefix)
        self._unpack: lzma.LZMADecompressor | None = None

    def _decompress(self) -> bytes:
        if self._unpack is None:
            padding = 0
            while not (stripped := self._input.lstrip(b"\0")):
                padding += len(self._input)
                self._input.clear()
                if not self._more():
                    return self._stop(None if padding % 4 == 0 else _GARBAGE)
            padding += len(self._input) - len(stripped)
            self._input = stripped
            if not self._need(len(XZ_MAGIC)):
                return self._stop(_CUT)
            if padding % 4 or not self._input.startswith(XZ_MAGIC):
                return self._stop(_GARBAGE)
            self._unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        elif self._unpack.needs_input and not self._input and not self._more():
            return self._stop(_CUT)
        try:
            output = self._unpack.decompress(self._take(_PIECE) if self._unpack.needs_input else b"", _SMALL_PIECE)
        except lzma.LZMAError as error:
            return self._stop(_CORRUPT, str(error).rpartition(": ")[2])
        if self._unpack.eof:
            self._input[:0] = self._unpack.unused_data
            self._unpack = None
        return output


class Lz4Stream(CompressedStream):
    """lz4 (github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md), also several frames one after another."""

    name = "lz4"

    def __init__(self, source: Stream, prefix: bytes) -> None:
        super().__init__(source, prefix)
        try:
            import lz4.frame
        except ImportError as error:
            raise MissingDependency("an lz4 capture needs the package lz4: pip install lz4") from error
        self._unpack: lz4.frame.LZ4FrameDecompressor = lz4.frame.LZ4FrameDecompressor()
        self._started = False

    def _decompress(self) -> bytes:
        unpack = self._unpack
        if not self._started:
            if not self._input and not self._more():
                return self._stop()
            if not self._need(8):
                return self._stop(_CUT)
            magic = bytes(self._input[:4])
            if magic in _SKIPPABLE:
                return self._pass(8 + int.from_bytes(self._input[4:8], "little"))
            if magic != LZ4_MAGIC:
                return self._stop(_GARBAGE)
            unpack.reset()
            self._started = True
        elif unpack.needs_input and not self._input and not self._more():
            return self._stop(_CUT)
        try:
            output: bytes = unpack.decompress(self._take(_PIECE) if unpack.needs_input else b"", _SMALL_PIECE)
        except RuntimeError as error:
            return self._stop(_CORRUPT, str(error).rpartition(": ")[2])
        if unpack.eof:
            self._input[:0] = unpack.unused_data or b""
            self._started = False
        return output


#: What a file in it begins with, and its stream.
_STREAMS: dict[bytes, type[CompressedStream]] = {
    GZIP_MAGIC: GzipStream,
    XZ_MAGIC: XzStream,
    ZSTD_MAGIC: ZstdStream,
    LZ4_MAGIC: Lz4Stream,
    **dict.fromkeys(_SKIPPABLE, ZstdStream),
}


def is_compressed(prefix: bytes) -> bool:
    """Whether a file that begins with these bytes, six or more, is in one of the formats."""
    return prefix.startswith(tuple(_STREAMS))


def decompressed(source: Stream, prefix: bytes) -> CompressedStream | None:
    """Return the decompressing stream over a source whose first bytes are ``prefix``, or None where it is plain."""
    for magic, stream in _STREAMS.items():
        if prefix.startswith(magic):
            return stream(source, prefix)
    return None
