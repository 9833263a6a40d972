"""How a session starts: ``live`` on interfaces, ``follow`` on a capture that is still being written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from analyzer.ports import asked_port
from analyzer.session import LiveSession
from analyzer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from analyzer.analysis import Path
    from analyzer.capture.writer import Target


def live(
    interface: str | Sequence[str] = "any",
    *,
    port: int | None = None,
    bpf: str | None = None,
    write: Path | Target | None = None,
    snap_length: int = 0,
    count: int | None = None,
    duration_s: float | None = None,
    save: Path | None = None,
    tell: Callable[[str], object] | None = None,
    settings: Settings | None = None,
) -> LiveSession:
    """Sniff and analyse what passes.

    Parameters
    ----------
    interface : str or sequence of str
        A name, several, or ``"any"``.
    port : int, optional
        Only connections with this port at either end.
    bpf : str, optional
        A capture filter in libpcap's language.
    write : path or Target, optional
        Write what comes to this file, too (pcapng); read again it gives the same frames. A ``Target`` also says when to
        begin another file.
    snap_length : int
        Bytes to keep of each packet; 0 for all.
    count : int, optional
        End after so many packets, as tcpdump's ``-c``: those that the filter lets through, TCP or not.
    duration_s : float, optional
        End after so many seconds.
    save : path, optional
        A folder to save to while it runs, new or empty: what the session lets go of (``Settings.live_packets``,
        ``live_flows``) is written there; ``LiveSession.save`` completes it. Without, that is lost, and counted in
        ``Analysis.capture.let_go``.
    tell : callable, optional
        Called at once, by the session's thread, with a sentence when one of several interfaces has gone away; the others go
        on, and it stands in ``Analysis.capture.damage``.
    settings : Settings, optional
        Timers and limits.

    Returns
    -------
    LiveSession
        Which sniffs already.

    Raises
    ------
    PermissionDenied
        Without the right to sniff (root, or CAP_NET_RAW).
    InterfaceError
        If there is no such interface.
    FilterError
        If libpcap does not compile the filter.
    CaptureError
        If the file cannot be written.
    StoreError
        If something is in the folder to save to, an earlier session too, or it cannot be written.
    ValueError
        If there is no such port.
    """
    from analyzer.capture.live import LiveSource
    from analyzer.capture.writer import Target
    from analyzer.frames import store
    from analyzer.frames.archive import Archive

    if save is not None:
        store.check_unused(save)  # before a file is written over, or packets come
    settings = settings or Settings()
    target = write if write is None or isinstance(write, Target) else Target(os.fspath(write))
    source = LiveSource(
        interface,
        port=port,
        bpf=bpf,
        count=count,
        duration_s=duration_s,
        snap_length=snap_length,
        write=target,
        settings=settings,
        tell=tell,
    )
    try:
        archive = None if save is None else Archive(save)
    except BaseException:
        source.close()
        raise
    return LiveSession(source, settings, live=True, watch_port=port, archive=archive)


def follow(
    paths: Path | Sequence[Path], *, port: int | None = None, bpf: str | None = None, settings: Settings | None = None
) -> LiveSession:
    """Read a capture that is still being written, and go on as it grows or is rotated, as ``tail -F`` does.

    Parameters
    ----------
    paths : path or sequence of paths
        The file that tcpdump writes. Of ``tcpdump -C`` the first one's name, the others follow; of ``-G`` a pattern or
        the folder. Of several those that are there are read first, in time order; then the one changed last is followed.
    port : int, optional
        Keep connections with this port at either end; numbers of frames and flows stay those of the whole capture.
    bpf : str, optional
        A capture filter in libpcap's language.
    settings : Settings, optional
        Timers and limits.

    Returns
    -------
    LiveSession
        Which reads already. It ends with ``stop`` or ``finish``, having read what is there then. What cannot be read on
        the way (not a capture after all, a filter that libpcap refuses) is raised by ``wait`` and ``news``.

    Raises
    ------
    CaptureError
        If it is missing, a pipe (which is read as it comes anyway) or text.
    ValueError
        If there is no such port.
    """
    from analyzer.decode.text_source import open_source

    port = asked_port(port)
    settings = settings or Settings()
    return LiveSession(open_source(paths, bpf=bpf, follow=True, settings=settings), settings, port)
