"""What a read gives: the frames, and the questions that they answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.frames import schema
from analyzer.frames.capture import Capture, describe
from analyzer.frames.store import STORED
from analyzer.ports import asked_port
from analyzer.settings import Settings

# pandas is imported where it is needed: while a capture is read, its half second passes beside the kernels.
if TYPE_CHECKING:
    import pathlib

    import pandas as pd

    from analyzer.diagnosis.first_questions import Answers
    from analyzer.frames.build import Frames

_ATTRIBUTES = {"live_sockets": "sockets"}
"""Where a frame's name in the schema and in the store is not that of the attribute."""

Path = str | os.PathLike[str]


class Analysis:
    """One capture, read: plain pandas frames, and what can be asked of them.

    Attributes
    ----------
    packets : DataFrame
        One row per TCP segment, with both ends' states after it.
    options : DataFrame
        The options of the segments that carry MSS, window scale, SACK, fast open or MPTCP.
    flows : DataFrame
        One row per connection.
    transitions : DataFrame
        One row per state change of one end.
    anomalies : DataFrame
        One row per thing that went wrong.
    findings : DataFrame
        One row per diagnosis.
    sockets : DataFrame
        Of a live session: this host's sockets beside the flows, as the snapshots showed them (`live_sockets`); else empty.
    capture : Capture
        What was read, what was skipped and why, where a file was damaged.
    local_addresses : tuple of str
        The capturing host's addresses, where the capture tells (``-i any``); else empty.
    settings : Settings
        What it was analysed with.

    The columns stand in ``docs/frames.md``. Frames are not copied: what you change in them is changed.
    """

    def __init__(
        self,
        frames: dict[str, pd.DataFrame],
        capture: Capture,
        local_addresses: Iterable[str] = (),
        settings: Settings | None = None,
    ) -> None:
        import analyzer.frames.accessor  # noqa: F401  # df.tcp is there from the first read on

        self.packets = frames["packets"]
        self.options = frames["options"]
        self.flows = frames["flows"]
        self.transitions = frames["transitions"]
        self.anomalies = frames["anomalies"]
        self.findings = frames["findings"] if "findings" in frames else schema.empty("findings")
        self.sockets = frames["live_sockets"] if "live_sockets" in frames else schema.empty("live_sockets")
        self.capture = capture
        self.local_addresses = tuple(local_addresses)
        self.settings = settings or Settings()

    @classmethod
    def of(cls, frames: Frames, settings: Settings) -> Analysis:
        """Take over what the frames' room has built."""
        named = {name: getattr(frames, name) for name in ("packets", "options", "flows", "transitions", "anomalies")}
        capture = describe(frames.info, frames.skipped, frames.copies, frames.packets, frames.quality, frames.let_go)
        return cls(named, capture, frames.local_addresses, settings)

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """All frames by name, as ``save`` writes them."""
        return {name: getattr(self, _ATTRIBUTES.get(name, name)) for name in STORED}

    def flow(self, number: int) -> Flow:
        """Return one connection.

        Raises
        ------
        KeyError
            If there is no flow of this number.
        """
        if number not in self.flows.index:
            raise KeyError(f"no flow {number}; there are {len(self.flows)}, see .flows")
        return Flow(self, int(number))

    def state_counts(
        self,
        freq: str | pd.Timedelta = "1s",
        host: str | Sequence[str] | None = None,
        port: int | None = None,
    ) -> pd.DataFrame:
        """Count sockets per state over time: what ``netstat -nat`` would have shown.

        Parameters
        ----------
        freq : str or Timedelta
            Width of a bin of time.
        host : str or sequence of str, optional
            An address, several, or ``"local"``. By default the local ends, where the capture tells which addresses
            are local; else both ends.
        port : int, optional
            Only connections with this port at either end.

        Returns
        -------
        DataFrame
            Index `time` (UTC), one column a state; the states in force at the start of each bin. CLOSED and UNKNOWN
            are not counted; LISTEN once per (address, port) that answered.

        Raises
        ------
        ValueError
            If freq is no duration, a host no address, there is no such port, or ``"local"`` is asked for and the capture
            does not tell.
        """
        from analyzer.frames.state_counts import state_counts

        first, last = self.capture.first, self.capture.end
        return state_counts(
            self.transitions, first, last, freq=freq, hosts=self._hosts(host), flows=self._on_port(port)
        )

    def states_at(
        self, time: pd.Timestamp, host: str | Sequence[str] | None = None, port: int | None = None
    ) -> pd.Series[int]:
        """Count sockets per state at one moment; parameters as ``state_counts``."""
        import pandas as pd

        from analyzer.frames.state_counts import counts_at

        moments = pd.DatetimeIndex([time if time.tzinfo else time.tz_localize("UTC")]).tz_convert("UTC")
        table = counts_at(self.transitions, moments, hosts=self._hosts(host), flows=self._on_port(port))
        return table.iloc[0].rename("sockets")

    def community_id(self, seed: int = 0) -> pd.Series[str]:
        """Return each connection's Community ID (version 1), index as `flows`: what Zeek, Suricata and Wireshark call it."""
        from analyzer.peers.community_id import of_flows

        return of_flows(self.flows, seed)

    def answers(self) -> Answers:
        """Answer the first questions as data; ``summary`` writes them out."""
        from analyzer.diagnosis.first_questions import answer

        return answer(self.flows, self.transitions, self.anomalies, self.capture, self.local_addresses, self.sockets)

    def summary(self, *, color: bool = False, width: int = 100) -> str:
        """Write what ``analyzer read`` prints: the first questions answered on one screen."""
        from analyzer.views import text

        return text.summary(self.answers(), self.capture, self.flows, color=color, width=width)

    def save(self, folder: Path) -> pathlib.Path:
        """Write all frames as Parquet, one folder a frame; ``analyzer.load`` reads them back exactly.

        Raises
        ------
        StoreError
            If the folder holds something else, or cannot be written.
        """
        from analyzer.frames import store

        return store.save(folder, self.frames, self.capture, self.local_addresses, self.settings)

    def select(self, *, flow: int | None = None, port: int | None = None) -> Analysis:
        """Return the part that is about one connection, or about connections with this port; numbers stay.

        Raises
        ------
        ValueError
            If there is no such port.
        """
        if flow is None and port is None:
            return self
        chosen: Any = self.flows.index.to_numpy() if port is None else self._on_port(port)
        if flow is not None:
            chosen = chosen[chosen == flow]
        frames = {name: self.frames[name] for name in STORED}
        for name in ("packets", "transitions", "anomalies"):
            frames[name] = frames[name][frames[name]["flow"].isin(chosen)]
        frames["options"] = frames["options"][frames["options"].index.isin(frames["packets"].index)]
        frames["flows"] = frames["flows"][frames["flows"].index.isin(chosen)]
        frames["live_sockets"] = self._sockets_of(chosen, port)
        for name in ("transitions", "anomalies"):
            frames[name] = frames[name].reset_index(drop=True)
        return Analysis(frames, self.capture, self.local_addresses, self.settings)

    def only(self, frames: Iterable[int]) -> Analysis:
        """Return these frames and what belongs to their connections; numbers stay."""
        packets = self.packets[self.packets.index.isin(list(frames))]
        flows = packets["flow"].unique()
        kept = {name: self.frames[name] for name in STORED} | {"packets": packets}
        kept["options"] = self.options[self.options.index.isin(packets.index)]
        kept["flows"] = self.flows[self.flows.index.isin(flows)]
        kept["live_sockets"] = self._sockets_of(flows)
        for name in ("transitions", "anomalies"):
            kept[name] = kept[name][kept[name]["flow"].isin(flows)].reset_index(drop=True)
        return Analysis(kept, self.capture, self.local_addresses, self.settings)

    def __repr__(self) -> str:
        """Return the summary."""
        return self.summary()

    def _repr_html_(self) -> str:
        from analyzer.views import html

        return html.card(self.answers(), self.capture, self.flows)

    def _sockets_of(self, flows: Any, port: int | None = None) -> pd.DataFrame:
        """The rows of sockets that are of these flows; of a port also those that have none."""
        mine = self.sockets["flow"].isin(flows)
        if port is not None:
            mine |= (self.sockets["port"] == port) | (self.sockets["peer_port"] == port).fillna(value=False)
        return self.sockets[mine.fillna(value=False).astype(bool)].reset_index(drop=True)

    def _hosts(self, host: str | Sequence[str] | None) -> tuple[str, ...] | None:
        if host is None:
            return self.local_addresses or None
        if host == "local":
            if not self.local_addresses:
                raise ValueError("this capture does not tell which addresses are local: name them with host=")
            return self.local_addresses
        from analyzer.frames.addresses import written

        return tuple(written(name) for name in ([host] if isinstance(host, str) else host))

    def _on_port(self, port: int | None) -> Any:
        if asked_port(port) is None:
            return None
        either = (self.flows["client_port"] == port) | (self.flows["server_port"] == port)
        return self.flows.index[either].to_numpy()


class Flow:
    """One connection of an analysis.

    Attributes
    ----------
    number : int
        Its number, as in `flows` and in the other frames' column `flow`.
    """

    def __init__(self, analysis: Analysis, number: int) -> None:
        self.number = number
        self._analysis = analysis

    @property
    def row(self) -> Any:
        """Its row of `flows`."""
        row: Any = self._analysis.flows.loc[self.number]
        return row

    @property
    def packets(self) -> pd.DataFrame:
        """Its segments."""
        return self._analysis.packets[self._analysis.packets["flow"] == self.number]

    @property
    def transitions(self) -> pd.DataFrame:
        """The state changes of both its ends."""
        return self._analysis.transitions[self._analysis.transitions["flow"] == self.number]

    @property
    def anomalies(self) -> pd.DataFrame:
        """What went wrong in it."""
        return self._analysis.anomalies[(self._analysis.anomalies["flow"] == self.number).fillna(False)]

    @property
    def sockets(self) -> pd.DataFrame:
        """Its ends' sockets on this host, as a live session's snapshots showed them (`live_sockets`)."""
        sockets = self._analysis.sockets
        return sockets[(sockets["flow"] == self.number).fillna(False)]

    def tcpdump(self) -> list[str]:
        """Return its lines as ``tcpdump -nn -tt -r`` prints them, up to the length: ``packets --format tcpdump --flow N``.

        Raises
        ------
        CaptureError
            If the capture cannot be read again: it came live or through a pipe, or its file has gone.
        """
        from analyzer.peers.tcpdump import printed_again

        return printed_again(self._analysis.capture, self._analysis.settings, set(self.packets.index.tolist()))

    def dissect(self) -> list[Any]:
        """Return its packets with all layers dissected: pyshark's packets, in their order.

        The installed tshark reads the capture file for it; this works in a notebook too.

        Returns
        -------
        list of pyshark.packet.packet.Packet
            ``packet.tcp.flags_str``, ``packet.http.request_uri``, ... as pyshark names them.

        Raises
        ------
        MissingDependency
            If tshark or pyshark is not installed.
        CaptureError
            If the analysis does not come from one capture file that tshark reads.

        Examples
        --------
        >>> packets = analysis.flow(3).dissect()  # doctest: +SKIP
        >>> packets[0].tcp.window_size  # doctest: +SKIP
        """
        from analyzer.peers.wireshark import dissected, one_file

        frames = self.packets.index
        ports = (self.row["client_port"], self.row["server_port"])
        about = [
            f"frame.number >= {frames.min()}",
            f"frame.number <= {frames.max()}",
            *(f"tcp.port == {p}" for p in ports),
        ]
        wanted = set(frames.tolist())
        packets = dissected(one_file(self._analysis.capture.files), " && ".join(about))
        return [packet for packet in packets if int(packet.number) in wanted]

    def __repr__(self) -> str:
        """Return its head line and a line a segment."""
        from analyzer.views import lines

        return lines.flow_text(self.number, self.row, self.packets)

    def _repr_html_(self) -> str:
        from analyzer.views import html

        return html.flow_card(self.number, self.row, self.packets, self.anomalies)
