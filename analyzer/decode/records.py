"""The decode kernel: a batch of raw records in, the rows of its segments out."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode import link as lan
from analyzer.decode import serial, tunnels, wireless
from analyzer.decode.bytes import u8, u16
from analyzer.decode.checksum import IP_WRONG, ip_checksum_is_wrong, tcp_checksum
from analyzer.decode.fragments import SLOT_BYTES, collect
from analyzer.decode.icmp import error, quoted_segment
from analyzer.decode.ip import FRAGMENTED, extensions, ipv4, ipv6
from analyzer.decode.layers import BY_LINK, BY_PROTOCOL, BY_UDP_PORT, MOST_LAYERS, Layer, announced
from analyzer.decode.segment import Skipped
from analyzer.decode.tcp import DECODED, tcp
from analyzer.kernel import kernel, part, seldom

_NOT_TCP, _FRAGMENT, _ICMP_ERROR = int(Skipped.NOT_TCP), int(Skipped.FRAGMENT), int(Skipped.ICMP_ERROR)
_UNKNOWN_LINK, _TOO_DEEP = int(Skipped.UNKNOWN_LINK), int(Skipped.TOO_DEEP)
_NO_TCP = -1 - _NOT_TCP

_IPV4, _IPV6, _TCP, _UDP = int(Layer.IPV4), int(Layer.IPV6), int(Layer.TCP), int(Layer.UDP)
_ICMP, _ICMPV6, _AH, _IP = int(Layer.ICMP), int(Layer.ICMPV6), int(Layer.AH), int(Layer.IP)
_ETHERNET, _SLL2, _SLL, _VLAN = int(Layer.ETHERNET), int(Layer.LINUX_SLL2), int(Layer.LINUX_SLL), int(Layer.VLAN)
_NULL, _LLC, _FDDI, _IPOIB = int(Layer.NULL), int(Layer.LLC), int(Layer.FDDI), int(Layer.IPOIB)
_ARCNET, _PPP, _HDLC, _PPPOE = int(Layer.ARCNET), int(Layer.PPP), int(Layer.CISCO_HDLC), int(Layer.PPPOE)
_NFLOG, _RADIOTAP, _PPI, _WLAN = int(Layer.NFLOG), int(Layer.RADIOTAP), int(Layer.PPI), int(Layer.WLAN)
_MPLS, _GRE, _ERSPAN_2, _ERSPAN_3 = int(Layer.MPLS), int(Layer.GRE), int(Layer.ERSPAN_2), int(Layer.ERSPAN_3)
_ETHERIP, _VXLAN, _VXLAN_GPE = int(Layer.ETHERIP), int(Layer.VXLAN), int(Layer.VXLAN_GPE)
_GENEVE, _GTP_U, _TEREDO, _L2TP = int(Layer.GENEVE), int(Layer.GTP_U), int(Layer.TEREDO), int(Layer.L2TP)


@kernel
def decode(records: Any, segments: Any, sacks: Any, skipped: Any, fragments: Any, checksums: bool) -> int:
    """Decode a batch.

    Parameters
    ----------
    records : Records
        The batch, n records.
    segments : array of SEGMENT, (>= n,)
        Takes a row for each TCP segment, and for each that an ICMP error quotes (``quoted``).
    sacks : uint32 array, (>= n, 8)
        Takes the edges of SACK blocks, left and right by turns.
    skipped : int64 array, (len(Skipped),)
        Counts the records that are no segment, by reason.
    fragments : Fragments
        Datagrams of which not all pieces have come yet; kept from batch to batch.
    checksums : bool
        Whether to compute them.

    Returns
    -------
    int
        The rows filled.
    """
    filled = 0
    for i in range(len(records.offset)):
        segment = segments[filled]
        segment.vlan = -1
        segment.vlan_key = -1
        segment.outgoing = -1
        segment.ifindex = -1
        segment.quoted = 0
        segment.tunnel = 0
        segment.tunnel_key = 0
        segment.overlapping = 0
        segment.padded = 0
        segment.checksum = 0
        start = records.offset[i]
        link = records.links[records.interface[i]]
        layer = announced(BY_LINK, link)
        if layer == 0:
            skipped[_UNKNOWN_LINK] += 1
            continue
        verdict = _walk(
            records.data,
            layer,
            start,
            start + records.captured[i],
            start + records.wire[i],
            records.frame[i],
            segment,
            sacks[filled],
            fragments,
            checksums,
        )
        if verdict != DECODED:
            if segment.quoted and verdict != _ICMP_ERROR:
                verdict = _NOT_TCP  # an error that quotes something else, or too little
            skipped[verdict] += 1
            if verdict != _ICMP_ERROR:
                continue
        segment.time_ns = records.time_ns[i]
        segment.frame = records.frame[i]
        segment.file = records.file[i]
        segment.file_frame = records.file_frame[i]
        segment.interface = records.interface[i]
        filled += 1
    return filled


@part
def _walk(
    data: Any,
    layer: int,
    offset: int,
    end: int,
    wire_end: int,
    frame: int,
    segment: Any,
    sack: Any,
    fragments: Any,
    checksums: bool,
) -> int:
    """Go from layer to layer, down to TCP; returns DECODED or why not (Skipped)."""
    length = 0
    inside_ip = False
    under = layer
    for _ in range(MOST_LAYERS):
        if layer == _TCP:
            if segment.quoted:
                return _ICMP_ERROR if quoted_segment(data, offset, end, segment) else _NOT_TCP
            # Padding behind the datagram is never part of it: neither of the payload nor of the options.
            verdict = tcp(data, offset, min(end, offset + length), length, wire_end - offset, segment, sack)
            if checksums and verdict == DECODED and offset + length <= end and not segment.unsummed:
                segment.checksum |= tcp_checksum(data, offset, length, segment)
            return verdict
        if layer == _IPV4 or layer == _IPV6:
            if inside_ip:
                if under == _IPV4 or under == _IPV6:
                    _enter_tunnel(segment, layer, 0)
                _fold_addresses(segment)
            inside_ip = True
            under = layer
            if layer == _IPV4:
                start = offset
                protocol, offset, length = ipv4(data, start, end, wire_end, segment)
                if checksums and start < offset <= end and ip_checksum_is_wrong(data, start, offset - start):
                    segment.checksum |= IP_WRONG
            else:
                protocol, offset, length = ipv6(data, offset, end, wire_end, segment)
            if protocol == FRAGMENTED and segment.quoted:
                if segment.fragment_offset != 0:
                    return _NOT_TCP
                protocol = 0 + segment.protocol  # the first piece has the ports
            if protocol == FRAGMENTED:
                slot = collect(data, offset, end, length, segment, frame, fragments)
                if slot < 0:
                    return _FRAGMENT
                data, offset, length = fragments.data, slot * SLOT_BYTES, fragments.slots[slot].total
                end, wire_end = offset + min(length, fragments.slots[slot].captured), offset + length
                segment.overlapping = fragments.slots[slot].overlapping
                protocol = 0 + segment.protocol
                if layer == _IPV6:
                    protocol, offset, length = extensions(data, offset, end, protocol, length, segment)
            if protocol < 0:
                return -1 - protocol
            layer = announced(BY_PROTOCOL, protocol)
            if not segment.quoted:
                end = min(end, offset + length)
        elif layer == _ETHERNET:
            layer, offset = lan.ethernet(data, offset, end)
        elif layer == _SLL2:
            layer, offset = lan.linux_sll2(data, offset, end, segment)
        elif layer == _VLAN:
            layer, offset = lan.vlan(data, offset, end, segment)
        elif layer == _IP:
            layer, offset = lan.by_version(data, offset, end)
        elif layer == _UDP:
            layer, offset = _udp(data, offset, end)
        elif layer == _ICMP or layer == _ICMPV6:
            if segment.quoted:
                return _NOT_TCP  # an error about an error: nobody sends such (RFC 1122 3.2.2)
            layer, offset, end = error(data, offset, end, 6 if layer == _ICMPV6 else 4, segment)
            inside_ip = False  # the quote is a packet of its own, beside the one that carries it
        elif layer == _AH:
            if end - offset < 8:
                return _NOT_TCP
            step = (u8(data, offset + 1) + 2) * 4
            layer, offset, length = announced(BY_PROTOCOL, data[offset]), offset + step, length - step
        else:
            under = layer
            layer, offset = _seldom_met(data, layer, offset, end, segment)
        if layer == 0:
            return _NOT_TCP
        if layer < 0:
            return -1 - layer
    return _TOO_DEEP


@part
def _udp(data: Any, offset: int, end: int) -> tuple[int, int]:
    """The tunnel that a port announces."""
    if end - offset < 8:
        return _NO_TCP, offset
    layer = announced(BY_UDP_PORT, u16(data, offset + 2))
    if layer == 0:
        layer = announced(BY_UDP_PORT, u16(data, offset))
    return layer, offset + 8


@seldom
def _seldom_met(data: Any, layer: int, offset: int, end: int, segment: Any) -> tuple[int, int]:
    """One step through a format that few captures have."""
    number = 0
    inner = layer
    if layer == _SLL:
        return lan.linux_sll(data, offset, end, segment)
    if layer == _NULL:
        return lan.null(data, offset, end)
    if layer == _LLC:
        return lan.llc(data, offset, end)
    if layer == _FDDI:
        return lan.fddi(end, offset)
    if layer == _IPOIB:
        return lan.ipoib(data, offset, end)
    if layer == _ARCNET:
        return lan.arcnet(data, offset, end)
    if layer == _PPP:
        return serial.ppp(data, offset, end)
    if layer == _HDLC:
        return serial.cisco_hdlc(data, offset, end)
    if layer == _NFLOG:
        return wireless.nflog(data, offset, end)
    if layer == _RADIOTAP:
        return wireless.radiotap(data, offset, end, segment)
    if layer == _PPI:
        segment.padded = 0
        return wireless.ppi(data, offset, end)
    if layer == _WLAN:
        return wireless.wlan(data, offset, end, segment)
    if layer == _MPLS:
        return tunnels.mpls(data, offset, end)
    if layer == _PPPOE:
        inner, offset, number = serial.pppoe(data, offset, end)
    elif layer == _GRE:
        inner, offset, number = tunnels.gre(data, offset, end)
    elif layer == _ERSPAN_2 or layer == _ERSPAN_3:
        inner, offset, number = tunnels.erspan(offset, end, layer == _ERSPAN_3, data)
    elif layer == _ETHERIP:
        inner, offset = _ETHERNET, offset + 2
    elif layer == _VXLAN or layer == _VXLAN_GPE:
        inner, offset, number = tunnels.vxlan(data, offset, end, layer == _VXLAN_GPE)
    elif layer == _GENEVE:
        inner, offset, number = tunnels.geneve(data, offset, end)
    elif layer == _GTP_U:
        inner, offset, number = tunnels.gtp_u(data, offset, end)
    elif layer == _TEREDO:
        inner, offset, number = tunnels.teredo(data, offset, end)
    elif layer == _L2TP:
        inner, offset, number = tunnels.l2tp(data, offset, end)
    else:
        return 0, offset
    if inner > 0:
        _enter_tunnel(segment, layer, number)
    return inner, offset


@part
def _enter_tunnel(segment: Any, layer: int, number: int) -> None:
    """Remember the tunnel that was entered: what is inside is told apart by the way that leads there."""
    segment.tunnel = layer
    segment.tunnel_key = _mixed(segment.tunnel_key ^ np.uint64((layer << 32) | number))


@part
def _fold_addresses(segment: Any) -> None:
    """Fold the outer addresses in, the same for both directions."""
    ends = _mixed(segment.src_lo ^ _mixed(segment.src_hi)) + _mixed(segment.dst_lo ^ _mixed(segment.dst_hi))
    segment.tunnel_key = _mixed(segment.tunnel_key ^ ends)


@part
def _mixed(word: Any) -> Any:
    """Spread a word's bits (the finalizer of MurmurHash3)."""
    word = (word ^ (word >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return word ^ (word >> np.uint64(33))
