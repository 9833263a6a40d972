"""The frames `packets` and `options`, from the replay's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.decode import segment
from analyzer.decode.layers import TUNNEL_WORDS
from analyzer.frames import columns as c
from analyzer.frames import vocabulary as v
from analyzer.tracker.packets import look_up, mark_present, widened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analyzer.capture.records import CaptureInfo
    from analyzer.frames.addresses import AddressWords
    from analyzer.tracker.packet_ends import PacketEnds
    from analyzer.tracker.packets import OptionColumns, PacketColumns

_LETTERS = "FSRP.UEWe"  # tcpdump's, from the lowest bit; it knows no letter for the other three


def flag_letters(bits: int) -> str:
    """Write TCP flags as tcpdump does: ``S.``, ``F.``, ``SEW``; ``none`` if none of those it knows is set."""
    return "".join(letter for bit, letter in enumerate(_LETTERS) if bits >> bit & 1) or "none"


def packets(
    columns: PacketColumns,
    rows: int,
    ends: PacketEnds,
    names: AddressWords,
    info: CaptureInfo,
    moved: Any = None,
    processes: Sequence[tuple[Any, Any]] = (),
    before: int = 0,
) -> c.Plan:
    """One row per TCP segment; see the schema. Narrow columns are gone then, if they lie in an array to be widened into.

    ends: whose addresses and ports they have, the addresses by their places in names.
    moved: each flow's number in the frames and whether its ends change places there; None if all are as they were.
    processes: frames and their process ids, batch by batch, for the frames of which it is known.
    before: so many rows have come before the first of these.
    """
    tracked = columns.flow[:rows]
    flow = tracked
    from_client = columns.from_client[:rows]
    states, proven = (
        [columns.client_state[:rows], columns.server_state[:rows]],
        [columns.client_proven[:rows], columns.server_proven[:rows]],
    )
    if moved is not None:
        flow, turned = moved[0][tracked], moved[1][tracked]
        from_client = from_client ^ turned
        states = [np.where(turned, states[1], states[0]), np.where(turned, states[0], states[1])]
        proven = [np.where(turned, proven[1], proven[0]), np.where(turned, proven[0], proven[1])]
    ahead = c.optional(columns, "stream_ahead", rows)
    no_timestamps = c.optional(columns, "no_timestamps", rows)
    outgoing, vlan = c.optional(columns, "outgoing", rows), c.optional(columns, "vlan", rows)
    absent = c.constant(True, rows, bool)
    copy_of = c.optional(columns, "copy_of", rows)
    frame_ahead = c.optional(columns, "frame_ahead", rows)
    data: dict[str, Any] = {
        "time": c.times(columns.time_ns[:rows]),
        "flow": flow,
        "stream": tracked if c.is_constant(ahead) else tracked + ahead,
        "outgoing": c.booleans(outgoing == 2, outgoing == 0)
        if not c.is_constant(outgoing)
        else c.booleans(c.constant(False, rows, bool), absent),
        "ip_id": c.integers(columns.ip_id[:rows], c.optional(columns, "no_ip_id", rows)),
        "ttl": columns.ttl[:rows],
        "vlan": c.no_integers(rows, np.uint16)
        if c.is_constant(vlan)
        else c.integers((np.maximum(vlan, 1) - 1).astype(np.uint16), vlan == 0),
        "truncated": c.constant(False, rows, bool) if info.printed else c.optional(columns, "truncated", rows),
        "from_client": from_client,
        "src": c.addresses(ends.source, names),
        "sport": ends.sport,
        "dst": c.addresses(ends.destination, names),
        "dport": ends.dport,
        "flags": _flags(columns.flag_bits[:rows]),
        "flag_bits": columns.flag_bits[:rows],
        "seq": columns.seq[:rows],
        "ack": c.integers(columns.ack[:rows], c.optional(columns, "no_ack", rows)),
        "raw_seq": columns.raw_seq[:rows],
        "raw_ack": columns.raw_ack[:rows],
        "length": columns.length[:rows],
        "window": widened(columns, "window", rows),
        "raw_window": columns.raw_window[:rows],
        "tsval": c.integers(columns.tsval[:rows], no_timestamps),
        "tsecr": c.integers(columns.tsecr[:rows], no_timestamps),
        "client_state": c.words(states[0], v.STATES),
        "server_state": c.words(states[1], v.STATES),
        "client_proven": proven[0],
        "server_proven": proven[1],
        "step": c.words(columns.step[:rows], v.STEPS),
        "step_repeat": c.optional(columns, "step_repeat", rows),
        "analysis": c.optional(columns, "analysis", rows),
        "rtt": c.constant(np.nan, rows, np.float64)
        if c.is_constant(c.optional(columns, "rtt", rows))
        else widened(columns, "rtt", rows),
        "acks_frame": _numbers(columns, "acks_frame", rows),
        "bytes_in_flight": _numbers(columns, "bytes_in_flight", rows),
        "interface": _interfaces(columns, rows, info),
        "copy_of": c.no_integers(rows, np.int64) if c.is_constant(copy_of) else c.integers(copy_of, copy_of == 0),
        "tunnel": _tunnels(c.optional(columns, "tunnel", rows)),
    }
    if len(info.files) > 1:
        own = c.optional(columns, "file_frame", rows)
        names_of_files = tuple(dict.fromkeys(info.files))  # a file may have been named twice
        place = np.array([names_of_files.index(name) for name in info.files], np.int32)
        data["file"] = c.words(c.narrow(place[columns.file[:rows]], len(names_of_files)), names_of_files)
        data["file_frame"] = np.where(own == 0, _frames(frame_ahead, before), own)
    if processes and rows:
        process = _process(_frames(frame_ahead, before), processes)
        if process is not None:
            data["process"] = process
    return c.Plan(data, _index(frame_ahead, before))


def _numbers(columns: PacketColumns, name: str, rows: int) -> c.Made:
    """A narrow column, which may be empty; 0 stands for none."""
    numbers = c.optional(columns, name, rows)
    return c.no_integers(rows, np.int64) if c.is_constant(numbers) else c.frames_or_na(widened(columns, name, rows))


def _frames(ahead: Any, before: int) -> Any:
    return ahead + np.arange(before + 1, before + len(ahead) + 1)


def _index(ahead: Any, before: int) -> c.Made:
    """The frame numbers; a range, which takes no memory, where every record is a segment."""
    rows = len(ahead)
    if not rows or ahead[0] == ahead[-1]:  # they never go back
        return c.numbered(rows, "frame", before + (int(ahead[0]) if rows else 0) + 1)
    return c.indexed(_frames(ahead, before), "frame")


def _process(frames: Any, processes: Sequence[tuple[Any, Any]]) -> Any:
    """Each frame's process id; None where none of them is known."""
    near = [batch for batch in processes if batch[0][0] <= frames[-1] and batch[0][-1] >= frames[0]]
    if not near:
        return None
    known, ids = (np.concatenate(parts) for parts in zip(*near, strict=True))  # frames only go up
    at = np.minimum(np.searchsorted(known, frames), len(known) - 1)
    found = known[at] == frames
    return c.integers(np.where(found, ids[at], 0).astype(np.uint32), ~found) if found.any() else None


def _flags(bits: Any) -> c.Made:
    present = np.zeros(1 << 12, bool)
    mark_present(bits, present)
    values = np.flatnonzero(present).tolist()
    letters = sorted({flag_letters(value) for value in values})
    codes = np.zeros(1 << 12, np.int8 if len(letters) < 127 else np.int16)
    for value in values:
        codes[value] = letters.index(flag_letters(value))
    return c.words(_looked_up(codes, bits), tuple(letters))


def _looked_up(codes: Any, values: Any) -> Any:
    found = np.empty(len(values), codes.dtype)
    look_up(codes, values, found)
    return found


def _tunnels(layers: Any) -> c.Made:
    if c.is_constant(layers):
        return c.words(c.constant(-1, len(layers), np.int8), v.TUNNELS)
    place = np.full(256, -1, np.int8)
    for number, layer in enumerate(TUNNEL_WORDS):
        place[layer] = number
    return c.words(_looked_up(place, layers), v.TUNNELS)


def _interfaces(columns: PacketColumns, rows: int, info: CaptureInfo) -> c.Made:
    """Pcapng's interface names (its number where it has none), or SLL2's interface indices; NA where there is neither."""
    capture, index = c.optional(columns, "interface", rows), c.optional(columns, "ifindex", rows)
    if not c.is_constant(index):
        # Of a capture of several link types some records have no index.
        return c.factorized(index, lambda value: str(value - 1) if value else "")
    named = [interface.name or f"interface {number}" for number, interface in enumerate(info.interfaces)]
    if len(named) < 2 and not any(interface.name for interface in info.interfaces):
        return c.words(c.constant(-1, rows, np.int8), ())
    label = {name: number for number, name in enumerate(dict.fromkeys(named))}
    labels, place = tuple(label), np.array([label[name] for name in named], np.int32)
    if c.is_constant(capture):
        return c.words(c.constant(place[0], rows, np.int8), labels)
    return c.words(c.narrow(place[capture], len(labels)), labels)


def options(columns: OptionColumns) -> c.Plan:
    """One row per segment that carries options worth one; see the schema."""
    rows, edges = int(columns.counts[0]), int(columns.counts[1])
    found = columns.options[:rows]
    mss, wscale, user_timeout = columns.mss[:rows], columns.wscale[:rows], columns.user_timeout[:rows]
    data: dict[str, Any] = {
        "mss": c.integers(np.maximum(mss, 0).astype(np.uint16), mss < 0),
        "wscale": c.integers(np.maximum(wscale, 0).astype(np.uint8), wscale < 0),
        "sack_permitted": found & segment.OPTION_SACK_PERMITTED != 0,
        "sack": _sack(columns, rows, edges, found & segment.OPTION_SACK == 0),
        "fast_open": found & segment.OPTION_FAST_OPEN != 0,
        "mptcp": found & segment.OPTION_MPTCP != 0,
        "md5": found & segment.OPTION_MD5 != 0,
        "ao": found & segment.OPTION_AO != 0,
        "user_timeout": c.integers(np.maximum(user_timeout, 0).astype(np.uint32), user_timeout < 0),
    }
    return c.Plan(data, c.indexed(columns.frame[:rows], "frame"))


def _sack(columns: OptionColumns, rows: int, edges: int, missing: Any) -> c.Made:
    def make() -> Any:
        import pandas as pd
        import pyarrow as pa

        offsets = np.zeros(rows + 1, np.int32)
        offsets[1:] = columns.sack_end[:rows]
        lists = pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(columns.sack[:edges], pa.int64()), mask=pa.array(missing)
        )
        return pd.arrays.ArrowExtensionArray(lists)

    return make
