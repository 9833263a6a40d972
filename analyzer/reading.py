"""From captures, or a folder of saved frames, to an analysis: ``read`` and ``load``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from analyzer.analysis import Analysis, Path
from analyzer.ports import asked_port
from analyzer.settings import Copies, Settings

if TYPE_CHECKING:
    from analyzer.capture.records import Source
    from analyzer.frames.build import Progress


def read(
    paths: Path | Sequence[Path],
    *,
    bpf: str | None = None,
    display_filter: str | None = None,
    port: int | None = None,
    copies: Copies | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Read captures and analyse them.

    Parameters
    ----------
    paths : path or sequence of paths
        A pcap, pcapng or snoop file, plain or in gzip, zstd, xz or lz4; a folder of them or a pattern; several, which are
        read as one capture in time order; ``"-"`` for a pipe on standard input. One file or the pipe may also hold tcpdump's
        printed text, with anything around it: its segments are read as packets without payload.
    bpf : str, optional
        A capture filter in libpcap's language, applied to the file.
    display_filter : str, optional
        A Wireshark display filter, asked of the installed tshark: the segments that it matches are kept, and what belongs
        to their connections. All segments are analysed first: numbers and states stay those of the whole capture.
    port : int, optional
        Keep connections with this port at either end; numbers of frames and flows stay those of the whole capture.
    copies : {"mark", "keep", "drop"}, optional
        What to do with a packet that was seen several times (``tcpdump -i any``, SPAN ports). "mark", the default: its
        first sight counts, the others have in ``copy_of`` which that was. "drop": they have no row, only
        ``Analysis.capture.copies`` counts them. "keep": nobody looks for them, each sight is a packet of its own.
    settings : Settings, optional
        Timers and limits.
    progress : callable, optional
        Called with the part read so far and the number of records.

    Returns
    -------
    Analysis
        What could be read. A damaged or truncated file raises nothing: see ``Analysis.capture.damage``.

    Raises
    ------
    CaptureError
        If there is no capture to read: missing, not readable, not a capture.
    FilterError
        If libpcap does not compile the filter, or tshark does not know the display filter.
    MissingDependency
        If tshark is asked for and not installed.
    ValueError
        If there is no such port, or ``copies`` is another word.

    Examples
    --------
    >>> import analyzer
    >>> analysis = analyzer.read("captures/life-of-a-connection/any.pcap")  # doctest: +SKIP
    >>> analysis.packets[["flags", "client_state", "server_state"]]  # doctest: +SKIP
    """
    from analyzer.decode.text_source import open_source

    if copies not in (None, "mark", "keep", "drop"):
        raise ValueError(f"copies={copies!r}: it is 'mark', 'keep' or 'drop'")
    port = asked_port(port)
    settings = settings or Settings()
    if copies is not None:
        settings = dataclasses.replace(settings, copies=copies)
    matching = None
    if display_filter:
        from analyzer.peers.wireshark import frames_matching

        matching = frames_matching(paths, display_filter)
    source = open_source(paths, bpf=bpf, settings=settings)
    return read_source(source, settings=settings, matching=matching, port=port, progress=progress)


def read_source(
    source: Source,
    *,
    settings: Settings,
    matching: Iterable[int] | None = None,
    port: int | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse what a source has, and close it; matching: the frames to keep with their connections, else all."""
    from analyzer.frames.build import analyse

    try:
        analysis = Analysis.of(analyse(source, settings, progress), settings)
    finally:
        source.close()
    if matching is not None:
        analysis = analysis.only(matching)
    return analysis.select(port=port)


def load(folder: Path) -> Analysis:
    """Load what ``Analysis.save`` wrote.

    Raises
    ------
    StoreError
        If the folder holds no saved analysis, a damaged one, or one of another version.
    """
    from analyzer.frames import store

    saved = store.load(folder)
    return Analysis(saved.frames, saved.capture, saved.local_addresses, saved.settings)
