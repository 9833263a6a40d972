"""What every source of packets hands on: batches of raw records, and what is known of the capture.

A source is a file, a pipe, several files merged, or a live socket. The stages behind it see no difference: each batch
is a set of arrays over one reused buffer, valid until the next batch is asked for.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt


OWN_NAME = b"tcp-handshake-analyzer"
"""What pcapng files that are written here say in ``shb_userappl``."""


class Records(NamedTuple):
    """A batch of n raw records. The arrays belong to the source and are overwritten by the next batch."""

    data: npt.NDArray[np.uint8]  #: the bytes that the records lie in
    offset: npt.NDArray[np.int64]  #: (n,) where each record's packet begins in data
    captured: npt.NDArray[np.int32]  #: (n,) its bytes in data
    wire: npt.NDArray[np.int64]  #: (n,) its bytes on the wire
    time_ns: npt.NDArray[np.int64]  #: (n,) nanoseconds since 1970-01-01 UTC
    interface: npt.NDArray[np.int32]  #: (n,) index into the source's interfaces
    frame: npt.NDArray[np.int64]  #: (n,) the record's number in the capture, from 1 (Wireshark's frame.number)
    file: npt.NDArray[np.int32]  #: (n,) index into the source's files
    file_frame: npt.NDArray[np.int64]  #: (n,) the record's number in its file, from 1
    process: npt.NDArray[np.int32]  #: (n,) the process that sent or got it, where the capture knows; else -1
    links: npt.NDArray[np.int32]  #: (interfaces,) LINKTYPE_ of each interface known so far


@dataclasses.dataclass(slots=True)
class Interface:
    """One interface of the capture (a pcap file has one; pcapng has a description block for each)."""

    link: int  #: LINKTYPE_ number, as https://www.tcpdump.org/linktypes.html lists them
    name: str | None = None  #: pcapng if_name
    snap_length: int = 0  #: 0: unlimited
    big_endian: bool = False  #: the byte order of the file, and so of the writer's own words (LINKTYPE_NULL's family)


@dataclasses.dataclass(slots=True)
class Damage:
    """A place where a file, or an interface, stopped being readable. All whole records before it were read."""

    file: str  #: live: the interface
    offset: int | None  #: byte offset in the (decompressed) file; None of an interface
    what: str  #: one sentence: what is wrong there

    def __str__(self) -> str:
        """Where and what, for people."""
        where = self.file if self.offset is None else f"{self.file}, byte {self.offset:,}"
        return f"{where}: {self.what}"


@dataclasses.dataclass(slots=True)
class Comment:
    """What somebody wrote into a capture (pcapng's opt_comment)."""

    file: str
    frame: int | None  #: the packet that it is about, by its number in that file (`packets.file_frame`, else `frame`)
    interface: int | None  #: the interface that it is about; with neither it is about the whole section
    text: str


@dataclasses.dataclass(slots=True)
class CaptureInfo:
    """What was read; grows while the batches are."""

    files: list[str] = dataclasses.field(default_factory=list)
    formats: list[str] = dataclasses.field(
        default_factory=list
    )  #: "pcap (microseconds, little-endian)", "pcapng", with " in gzip"
    interfaces: list[Interface] = dataclasses.field(default_factory=list)
    records: int = 0  #: whole records read, before a capture filter
    bytes: int = 0  #: captured bytes of those records
    filtered_out: int = 0  #: records that the capture filter refused
    damage: list[Damage] = dataclasses.field(default_factory=list)
    kernel_drops: int | None = (
        None  #: packets that the kernel had no room for: live, pcapng's isb_osdrop, snoop's count
    )
    interface_drops: int | None = None  #: packets that the interface or its driver lost: pcapng's isb_ifdrop
    timeless: int = 0  #: records without a time of their own (pcapng's simple packets): they have the previous one's
    comments: list[Comment] = dataclasses.field(default_factory=list)  #: the first of them
    comments_left_out: int = 0  #: how many more there are
    names: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  #: pcapng: address -> its names
    processes: dict[int, str] = dataclasses.field(default_factory=dict)  #: macOS's pcapng: process id -> name
    began_ns: int | None = None  #: when capturing began, where ``ended_ns`` is known too
    ended_ns: int | None = None
    """When capturing ended, or as far as it has come, where that is known: live, and of files that a live session wrote. All
    that came up to then is here; None: nobody knows how long no packet came after the last one."""
    bpf: str | None = None
    printed: bool = False  #: tcpdump's printed text: of the packets there is what it prints of headers, and no payload


class Source(Protocol):
    """Anything that yields batches of records."""

    info: CaptureInfo

    @property
    def size_hint(self) -> int | None:
        """About how many records there will be, or None where nobody can tell (a pipe, a live capture)."""
        ...

    @property
    def progress(self) -> float | None:
        """The part of the input read so far, 0..1, or None where the end is unknown."""
        ...

    def batches(self) -> Iterator[Records]:
        """Yield the batches in order; raises CaptureError before the first one if there is nothing to read."""
        ...

    def stop(self) -> None:
        """Let ``batches`` end soon; from any thread, also from a signal handler."""
        ...

    def close(self) -> None:
        """Close what is open; called once, also after an error."""
        ...


class OuterSource:
    """A ``Source`` around another one, for those that only change its batches."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.info: CaptureInfo = source.info

    @property
    def size_hint(self) -> int | None:
        """About how many records there will be, as the source knows it."""
        return self._source.size_hint

    @property
    def progress(self) -> float | None:
        """The part read so far, as the source knows it."""
        return self._source.progress

    def batches(self) -> Iterator[Records]:
        """Yield the source's batches."""
        return self._source.batches()

    def stop(self) -> None:
        """Let the batches end."""
        self._source.stop()

    def close(self) -> None:
        """Close what is open."""
        self._source.close()
