"""Capture filters: tcpdump's language, compiled by libpcap, run over whole batches.

libpcap is given what it would see with ``tcpdump -r``: a savefile of the interface's link type and byte order (its
header only, in memory). So it takes and refuses the same filters, in the same words. What it compiles is a classic BPF
program; the small machine below runs it, after libpcap's ``bpf_filter.c``: what reads beyond the packet refuses it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.capture.records import Interface, OuterSource, Records, Source
from analyzer.capture.words import u16, u32
from analyzer.errors import FilterError, MissingDependency
from analyzer.kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Program = npt.NDArray[np.int64]  #: (instructions, 4): code, jt, jf, k

#: The highest number of a machine word: all its 32 bits.
_WORD = int(np.iinfo(np.uint32).max)
_NETMASK_UNKNOWN = _WORD
_ERROR_BYTES = 256
_SNAP_LENGTH = 262144
_MEMORY = 16
#: A packet that keeps a filter going in circles for longer is refused; each lap passes 8 bytes or more.
_LAPS = 65536
#: LINKTYPE_RAW is another number among libpcap's own.
_DLT = {101: 12}

#: Instructions, named as in ``net/bpf.h``; the values are class, size and mode or source.
_LD_W, _LD_H, _LD_B = 0x20, 0x28, 0x30
_LD_IND_W, _LD_IND_H, _LD_IND_B = 0x40, 0x48, 0x50
_LD_LEN, _LD_IMM, _LD_MEM = 0x80, 0x00, 0x60
_LDX_IMM, _LDX_MEM, _LDX_LEN, _LDX_MSH = 0x01, 0x61, 0x81, 0xB1
_ST, _STX, _RET_K, _RET_A, _TAX, _TXA = 0x02, 0x03, 0x06, 0x16, 0x07, 0x87
_JA, _NEG = 0x05, 0x84
_ALU, _JMP, _FROM_X = 0x04, 0x05, 0x08
_PLAIN = {
    *(_LD_W, _LD_H, _LD_B, _LD_IND_W, _LD_IND_H, _LD_IND_B, _LD_LEN, _LD_IMM, _LD_MEM),
    *(_LDX_IMM, _LDX_MEM, _LDX_LEN, _LDX_MSH, _ST, _STX, _RET_K, _RET_A, _TAX, _TXA, _JA, _NEG),
}
_ADD, _SUB, _MUL, _DIV, _OR, _AND, _LSH, _RSH, _MOD, _XOR = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0
_ARITHMETIC = {_ADD, _SUB, _MUL, _DIV, _OR, _AND, _LSH, _RSH, _MOD, _XOR}
_JEQ, _JGT, _JGE, _JSET = 0x10, 0x20, 0x30, 0x40
_JUMPS = {_JEQ, _JGT, _JGE, _JSET}


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction))]


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """The handles of libpcap and of the C library."""
    name = ctypes.util.find_library("pcap")
    try:
        pcap = ctypes.CDLL(name or "libpcap.so.1")
        c = ctypes.CDLL(None)
        c.fmemopen.restype = ctypes.c_void_p
    except (OSError, AttributeError, TypeError) as error:
        raise MissingDependency("capture filters need libpcap: apt install libpcap0.8") from error
    c.fmemopen.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p]
    c.fclose.argtypes = [ctypes.c_void_p]
    pcap.pcap_fopen_offline.restype = ctypes.c_void_p
    pcap.pcap_fopen_offline.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    pcap.pcap_open_dead.restype = ctypes.c_void_p
    pcap.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
    pcap.pcap_geterr.restype = ctypes.c_char_p
    pcap.pcap_geterr.argtypes = [ctypes.c_void_p]
    pcap.pcap_compile.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(_Program),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    ]
    pcap.pcap_freecode.argtypes = [ctypes.POINTER(_Program)]
    pcap.pcap_close.argtypes = [ctypes.c_void_p]
    return pcap, c


def compile_filter(bpf: str, link: int, *, big_endian: bool = False, live: bool = False) -> Program:
    """Compile a capture filter for one link type.

    Parameters
    ----------
    bpf
        The filter, as for tcpdump.
    link
        LINKTYPE_ number.
    big_endian
        Byte order of the file.
    live
        For a socket rather than a file: the kernel also knows what no file records (``inbound``, ``ifindex``).

    Returns
    -------
    (instructions, 4) int64
        Code, jt, jf and k of each; verified: known instructions, jumps inside, a return at the end.

    Raises
    ------
    FilterError
        libpcap refuses it; in its own words.
    MissingDependency
        There is no libpcap.
    """
    pcap, c = _libraries()
    if "\0" in bpf:
        raise FilterError(f"capture filter {bpf!r}: it contains a zero byte.")
    # The memory has to outlive the handle that reads it.
    header = struct.pack((">" if big_endian else "<") + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAP_LENGTH, link)
    message = ctypes.create_string_buffer(_ERROR_BYTES)
    if live:
        handle = pcap.pcap_open_dead(_DLT.get(link, link), _SNAP_LENGTH)
    else:
        file = c.fmemopen(header, len(header), b"rb")
        handle = pcap.pcap_fopen_offline(file, message) if file else None
        if file and not handle:
            c.fclose(file)
    if not handle:
        raise FilterError(f"capture filter '{bpf}': {message.value.decode(errors='replace')} (link type {link}).")
    try:
        program = _Program()
        text = bpf.encode(errors="surrogateescape")
        if pcap.pcap_compile(handle, ctypes.byref(program), text, 1, _NETMASK_UNKNOWN) != 0:
            words = pcap.pcap_geterr(handle).decode(errors="replace")
            raise FilterError(
                f"capture filter '{bpf}': {words} (link type {link}). The language is described in man pcap-filter."
            )
        lines: Any = [program.instructions[i] for i in range(program.length)]
        compiled = np.array([(line.code, line.jt, line.jf, line.k) for line in lines], np.int64).reshape(-1, 4)
        pcap.pcap_freecode(ctypes.byref(program))
    finally:
        pcap.pcap_close(handle)
    fault = verify(compiled)
    if fault:
        raise FilterError(f"capture filter '{bpf}': libpcap's program cannot be run here: {fault} (link type {link}).")
    return compiled


def verify(program: Program) -> str | None:
    """Say why a program could run astray, or return None: then it ends, and stays inside itself and its memory."""
    length = len(program)
    if not length or int(program[-1, 0]) not in (_RET_K, _RET_A):
        return "it does not end with a return"
    for at, (code, jt, jf, k) in enumerate(program.tolist()):
        kind, operation = code & 7, code & 0xF0
        if code in _PLAIN:
            # Only this jump may lead back: "ip6 protochain" makes loops. The machine counts them.
            if code == _JA and not 0 <= at + 1 + _signed(k) < length:
                return f"instruction {at} jumps outside"
            if code in (_LD_MEM, _LDX_MEM, _ST, _STX) and k >= _MEMORY:
                return f"instruction {at} uses memory that is not there"
        elif kind == _ALU and operation in _ARITHMETIC and code & ~0xF8 == _ALU:
            if operation in (_DIV, _MOD) and not code & _FROM_X and k == 0:
                return f"instruction {at} divides by zero"
        elif kind == _JMP and operation in _JUMPS and code & ~0xF8 == _JMP:
            if at + 1 + max(jt, jf) >= length:
                return f"instruction {at} jumps outside"
        else:
            return f"instruction {at} is unknown ({code:#x})"
    return None


def _signed(k: int) -> int:
    return k - _WORD - 1 if k >> 31 else k


@kernel
def run_filter(
    program: Program,
    starts: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    offset: npt.NDArray[np.int64],
    captured: npt.NDArray[np.int32],
    wire: npt.NDArray[np.int64],
    interface: npt.NDArray[np.int32],
    memory: npt.NDArray[np.int64],
    kept: npt.NDArray[np.int64],
) -> int:
    """Run verified programs over a batch, each record with the one that starts where its interface's does.

    The indices of the records that pass go to ``kept``; returns their number.
    """
    count = 0
    for i in range(len(offset)):
        packet = offset[i]
        size = np.int64(captured[i])
        at = starts[interface[i]]
        memory[:] = 0
        a = 0
        x = 0
        verdict = 0
        laps = 0
        while True:
            code = program[at, 0]
            k = program[at, 3]
            at += 1
            kind = code & 7
            if kind == _JMP:
                if code == _JA:
                    laps += 1
                    if laps > _LAPS:
                        break
                    at += k - _WORD - 1 if k >> 31 else k
                    continue
                other = x if code & _FROM_X else k
                operation = code & 0xF0
                if operation == _JEQ:
                    true = a == other
                elif operation == _JGT:
                    true = a > other
                elif operation == _JGE:
                    true = a >= other
                else:
                    true = (a & other) != 0
                at += program[at - 1, 1] if true else program[at - 1, 2]
            elif kind == 0:
                if code == _LD_LEN:
                    a = wire[i] & _WORD
                elif code == _LD_IMM:
                    a = k
                elif code == _LD_MEM:
                    a = memory[k]
                else:
                    begin = k + x if code & 0x40 else k
                    width = 4 if code & 0x18 == 0 else 2 if code & 0x18 == 8 else 1
                    if begin > size - width:
                        break
                    begin += packet
                    if width == 4:
                        a = u32(data, begin, True)
                    elif width == 2:
                        a = u16(data, begin, True)
                    else:
                        a = np.int64(data[begin])  # type: ignore[assignment]
            elif kind == 1:
                if code == _LDX_MSH:
                    if k >= size:
                        break
                    x = (np.int64(data[packet + k]) & 15) << 2  # type: ignore[assignment]
                elif code == _LDX_IMM:
                    x = k
                elif code == _LDX_MEM:
                    x = memory[k]
                else:
                    x = wire[i] & _WORD
            elif kind == _ALU:
                if code == _NEG:
                    a = -a & _WORD
                    continue
                other = x if code & _FROM_X else k
                operation = code & 0xF0
                if operation == _ADD:
                    a = a + other
                elif operation == _SUB:
                    a = a - other
                elif operation == _MUL:
                    # Half by half: the product of two 32-bit words does not fit into a signed 64-bit one.
                    a = a * (other & 0xFFFF) + ((a * (other >> 16) & 0xFFFF) << 16)
                elif operation == _OR:
                    a = a | other
                elif operation == _AND:
                    a = a & other
                elif operation == _XOR:
                    a = a ^ other
                elif operation == _LSH:
                    a = a << other if other < 32 else 0
                elif operation == _RSH:
                    a = a >> other if other < 32 else 0
                elif other == 0:
                    break
                elif operation == _DIV:
                    a = a // other
                else:
                    a = a % other
                a = a & _WORD
            elif kind == 6:
                verdict = a if code == _RET_A else k
                break
            elif kind == 2:
                memory[k] = a
            elif kind == 3:
                memory[k] = x
            elif code == _TAX:
                x = a
            else:
                a = x
        if verdict != 0:
            kept[count] = i
            count += 1
    return count


class Filter:
    """A capture filter over batches; compiled for each link type when a record of it comes."""

    def __init__(self, bpf: str) -> None:
        self.bpf = bpf
        self._program: Program = np.zeros((0, 4), np.int64)
        self._starts = np.zeros(0, np.int64)  #: per interface; -1: none yet
        self._compiled: dict[tuple[int, bool], int] = {}
        self._memory = np.zeros(_MEMORY, np.int64)
        self._kept = np.zeros(0, np.int64)

    def apply(self, records: Records, interfaces: Sequence[Interface]) -> Records:
        """Return the records that pass; raises FilterError where the filter makes no sense for their link type."""
        count = len(records.offset)
        if count == 0:
            return records
        for index in np.flatnonzero(np.bincount(records.interface)).tolist():
            self._prepare(index, interfaces[index])
        if len(self._kept) < count:
            self._kept = np.zeros(count, np.int64)
        passed = run_filter(self._program, self._starts, *records[:4], records.interface, self._memory, self._kept)
        if passed == count:
            return records
        kept = self._kept[:passed]
        return Records._make([records.data, *(column[kept] for column in records[1:-1]), records.links])

    def _prepare(self, index: int, interface: Interface) -> None:
        if index < len(self._starts) and self._starts[index] >= 0:
            return
        key = interface.link, interface.big_endian
        if key not in self._compiled:
            program = compile_filter(self.bpf, interface.link, big_endian=interface.big_endian)
            self._compiled[key] = len(self._program)
            self._program = np.concatenate([self._program, program])
        if index >= len(self._starts):
            more = np.full(index + 1 - len(self._starts), -1, np.int64)
            self._starts = np.concatenate([self._starts, more])
        self._starts[index] = self._compiled[key]


class FilteredSource(OuterSource):
    """A ``Source`` without the records that a capture filter refuses; the others keep their frame numbers."""

    def __init__(self, source: Source, bpf: str) -> None:
        super().__init__(source)
        self._filter = Filter(bpf)
        self.info.bpf = bpf

    def batches(self) -> Iterator[Records]:
        """Yield what passes of each batch, also of those of which nothing does."""
        for records in self._source.batches():
            passed = self._filter.apply(records, self.info.interfaces)
            self.info.filtered_out += len(records.offset) - len(passed.offset)
            yield passed


def filtered(source: Source, bpf: str | None) -> Source:
    """Return the source behind a capture filter, or itself where there is none."""
    return FilteredSource(source, bpf) if bpf and bpf.strip() else source
