"""Datagrams in pieces, put together (RFC 791 section 3.2, RFC 8200 section 4.5): their beginnings, for headers are all
that is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_DATAGRAMS = 256  #: at once; the oldest gives way
MOST_PIECES = 128
KEPT = 2048  #: octets of each datagram's beginning


@dataclass
class Piece:
    key: tuple  #: what the pieces of one datagram have in common
    protocol: int
    offset: int
    length: int
    more: bool
    data: bytes  #: what was captured of it


@dataclass
class Datagram:
    """One in pieces."""

    pieces: list[tuple[int, int]] = field(default_factory=list)  #: (start, end)
    beginning: bytearray = field(default_factory=lambda: bytearray(KEPT))
    captured: int = KEPT  #: of the beginning, where the snap length cut a piece
    total: int | None = None  #: known with the last piece
    overlapping: bool = False

    def take(self, piece: Piece) -> None:
        start, end = piece.offset, piece.offset + piece.length
        if piece.length <= 0 or end > 65535 or len(self.pieces) == MOST_PIECES or (start, end) in self.pieces:
            return
        self.overlapping |= any(start < other_end and other_start < end for other_start, other_end in self.pieces)
        self.pieces.append((start, end))
        data = piece.data[: min(piece.length, max(KEPT - start, 0))]
        self.beginning[start : start + len(data)] = data
        if len(piece.data) < piece.length:
            self.captured = min(self.captured, start + len(piece.data))
        if not piece.more:
            self.total = end

    @property
    def is_whole(self) -> bool:
        reached = 0
        for start, end in sorted(self.pieces):
            if start > reached:
                break
            reached = max(reached, end)
        return self.total is not None and reached >= self.total


@dataclass
class Fragments:
    """Those of which not all pieces have come."""

    datagrams: dict[tuple, Datagram] = field(default_factory=dict)  #: the oldest first

    def collect(self, piece: Piece) -> Datagram | None:
        """Take in a piece; the datagram, if that was the last of it."""
        if piece.key not in self.datagrams:
            if len(self.datagrams) == MOST_DATAGRAMS:
                del self.datagrams[next(iter(self.datagrams))]
            self.datagrams[piece.key] = Datagram()
        datagram = self.datagrams[piece.key]
        before = len(datagram.pieces)
        datagram.take(piece)
        if len(datagram.pieces) == before or not datagram.is_whole:
            return None
        return self.datagrams.pop(piece.key)
