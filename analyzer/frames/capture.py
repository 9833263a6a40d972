"""What was read: ``Analysis.capture``."""

from __future__ import annotations

import dataclasses
import html
from typing import TYPE_CHECKING, Any

from analyzer.capture.records import CaptureInfo, Comment, Damage

if TYPE_CHECKING:
    import pandas as pd

LINK_NAMES = {
    0: "NULL",
    1: "EN10MB",
    7: "ARCNET",
    9: "PPP",
    10: "FDDI",
    12: "RAW",
    14: "RAW",
    50: "PPP_SERIAL",
    101: "RAW",
    104: "C_HDLC",
    105: "IEEE802_11",
    108: "LOOP",
    113: "LINUX_SLL",
    127: "IEEE802_11_RADIO",
    192: "PPI",
    228: "IPV4",
    229: "IPV6",
    239: "NFLOG",
    242: "IPOIB",
    276: "LINUX_SLL2",
}
"""tcpdump's names (``-y``, https://www.tcpdump.org/linktypes.html) of what is decoded here."""

_TIMES = ("first", "last", "began", "ended")
_SHOWN = 10  #: of the entries of a field, in HTML


@dataclasses.dataclass(frozen=True, slots=True)
class Capture:
    """The input of one analysis and what became of its records.

    ``records`` = ``segments`` + ``filtered_out`` + what ``skipped`` counts by reason; where copies are dropped, plus
    ``copies``; of a live session that let go of some, plus ``let_go["packets"]``. The counts are of what is left.
    """

    files: tuple[str, ...]
    formats: tuple[str, ...]  #: of each file: "pcapng in gzip"
    link_types: tuple[str, ...]  #: tcpdump's names, each once
    interfaces: tuple[str, ...]  #: names of pcapng's interfaces, or the indices that SLL2 gave
    records: int  #: whole records read
    bytes: int  #: their captured octets
    segments: int  #: of them, rows of `packets`
    skipped: dict[
        str, int
    ]  #: reason -> records that gave no row of `packets`; joined ICMP errors have one of `anomalies`
    filtered_out: int  #: records that the capture filter refused
    truncated: int  #: segments that the snap length cut
    copies: int  #: segments that are another sight of a packet seen before
    checksums_wrong: (
        int  #: segments with a wrong TCP checksum (`bad-checksum`); where believed they were not acted upon
    )
    checksums_left: int  #: segments whose checksum was left to the network card (offload): none, or a part of the sum
    ip_checksums_wrong: int  #: segments behind an IPv4 header with a wrong checksum
    super_segments: int  #: segments larger than their receiver takes: the card cuts them up, or put them together
    lost_bytes: (
        int  #: payload (and SYN, FIN) that was acknowledged and never seen: the capture lost it, not the network
    )
    lost_segments: int  #: so many segments at least
    swapped: int  #: segments captured behind their acknowledgement: the two directions are not in order
    clock_steps: int  #: how often the time went back by more than 100 ms within one interface (`clock-step`)
    disordered: int  #: how often it went back by less, as several queues or processors make it
    one_direction: int  #: connections of which one direction was captured
    filtered: tuple[str, ...]  #: what the capture looks filtered for; see ``frames.quality.filters``
    damage: tuple[Damage, ...]  #: where a file, or one of several interfaces, stopped being readable
    kernel_drops: int | None  #: packets that the kernel had no room for: live, or as pcapng or snoop has counted them
    interface_drops: int | None  #: packets that the interface or its driver lost, where pcapng has counted them
    timeless: int  #: records without a time of their own (pcapng's simple packets): they have the previous one's
    comments: tuple[Comment, ...]  #: what somebody wrote into it, the first thousand; ``pd.DataFrame(comments)``
    comments_left_out: int  #: how many more there are
    names: dict[str, tuple[str, ...]]  #: address -> its names, as the capturing host had resolved them (pcapng)
    processes: dict[int, str]  #: process id -> name (macOS's pcapng); `packets.process` has each segment's
    printed: bool  #: tcpdump's printed text: there is what it prints of headers, and no payload
    bpf: str | None
    first: pd.Timestamp | None  #: time of the first segment, UTC
    last: pd.Timestamp | None  #: time of the last one
    ended: (
        pd.Timestamp | None
    )  #: when capturing ended, of a live session and of what it wrote; None: nobody has noted it
    let_go: dict[str, int] = dataclasses.field(
        default_factory=dict
    )  #: of a live session, what is not in memory any more

    began: pd.Timestamp | None = None  #: when capturing began, where it is known when it ended

    @property
    def whole(self) -> bool:
        """Whether every file, and every interface, could be read to its end."""
        return not self.damage

    @property
    def end(self) -> pd.Timestamp | None:
        """Up to when it tells something: ``ended`` where that is known, else ``last``."""
        if self.ended is None or self.last is None:
            return self.last
        return max(self.ended, self.last)

    @property
    def listened_s(self) -> float | None:
        """From when capturing began to when it ended, in seconds; None where nobody has noted that."""
        if self.began is None or self.ended is None:
            return None
        return max(0.0, float((self.ended - self.began).total_seconds()))

    @property
    def duration_s(self) -> float:
        """First segment to last, in seconds; 0 where there is none."""
        if self.first is None or self.last is None:
            return 0.0
        return float((self.last - self.first).total_seconds())

    def as_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes: numbers, texts, lists."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("damage", "comments"):
            plain[name] = [dataclasses.asdict(entry) for entry in plain[name]]
        for name in _TIMES:
            plain[name] = None if plain[name] is None else int(plain[name].as_unit("ns").value)
        return plain

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><th style='text-align:left'>{field.name.replace('_', ' ')}</th>"
            f"<td style='text-align:left'>{html.escape(_said(value))}</td></tr>"
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) not in (None, 0, "", (), {})
        ]
        return f"<table><tbody>{''.join(rows)}</tbody></table>"

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Capture:
        """Rebuild what ``as_json`` gave, also before there was ``began``; KeyError or TypeError where it did not."""
        plain = {"began": None, **plain}
        known = {field.name: plain[field.name] for field in dataclasses.fields(cls)}
        for name in ("files", "formats", "link_types", "interfaces", "filtered"):
            known[name] = tuple(known[name])
        known["damage"] = tuple(Damage(**damage) for damage in known["damage"])
        known["comments"] = tuple(Comment(**comment) for comment in known["comments"])
        known["names"] = {address: tuple(names) for address, names in known["names"].items()}
        known["processes"] = {int(number): name for number, name in known["processes"].items()}
        for name in _TIMES:
            known[name] = _stamp(known[name])
        return cls(**known)


def _said(value: Any) -> str:
    """Write what a field holds for people; of many things the first few."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Comment):
        return value.text
    if isinstance(value, dict):
        value = [f"{key}: {_said(of)}" for key, of in value.items()]
    if isinstance(value, tuple | list):
        more = f"; {len(value) - _SHOWN:,} more" if len(value) > _SHOWN else ""
        return "; ".join(_said(one) for one in value[:_SHOWN]) + more
    return str(value)


def _stamp(time_ns: int | None) -> pd.Timestamp | None:
    import pandas as pd

    return None if time_ns is None else pd.Timestamp(time_ns, unit="ns", tz="UTC")


def describe(
    info: CaptureInfo,
    skipped: dict[str, int],
    copies: int,
    packets: pd.DataFrame,
    quality: dict[str, Any],
    let_go: dict[str, int] | None = None,
) -> Capture:
    """Sum up a capture that has been read; quality: what ``frames.quality`` counted."""
    links = dict.fromkeys(LINK_NAMES.get(i.link, f"link type {i.link}") for i in info.interfaces)
    names = dict.fromkeys([i.name for i in info.interfaces if i.name] + list(packets["interface"].cat.categories))
    times_ns = packets["time"].array.asi8  # pandas takes ten times as long for both ends of them
    return Capture(
        files=tuple(info.files),
        formats=tuple(info.formats),
        link_types=tuple(links),
        interfaces=tuple(names),
        records=info.records,
        bytes=info.bytes,
        segments=len(packets),
        skipped=dict(skipped),
        filtered_out=info.filtered_out,
        truncated=int(packets["truncated"].sum()),
        copies=copies,
        damage=tuple(info.damage),
        kernel_drops=info.kernel_drops,
        interface_drops=info.interface_drops,
        timeless=info.timeless,
        comments=tuple(info.comments),
        comments_left_out=info.comments_left_out,
        names=dict(info.names),
        processes=dict(info.processes),
        printed=info.printed,
        bpf=info.bpf,
        first=_stamp(int(times_ns.min())) if len(times_ns) else None,
        last=_stamp(int(times_ns.max())) if len(times_ns) else None,
        began=_stamp(info.began_ns),
        ended=_stamp(info.ended_ns),
        let_go=dict(let_go or {}),
        **quality,
    )
