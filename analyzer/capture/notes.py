"""What a capture says beside its packets: comments, names of addresses, processes, what was lost.

A reader gathers it here and the source hands it on to ``CaptureInfo``. Everything is bounded, for a capture may be made
to exhaust memory; what is left out is counted where it could be missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.capture.records import Comment

if TYPE_CHECKING:
    from analyzer.capture.records import CaptureInfo

#: In a whole capture: comments, the characters of each, addresses with names, names of each, processes.
COMMENTS, COMMENT_LENGTH, ADDRESSES, NAMES, PROCESSES = 1000, 10_000, 100_000, 16, 65536

_LATEST_NS = (1 << 63) - 1


class Notes:
    """One file's notes, from one ``hand_to`` to the next."""

    def __init__(self) -> None:
        self.timeless = 0
        self.began_ns: int | None = None
        self.ended_ns: int | None = None
        self._comments: list[tuple[int | None, int | None, str]] = []
        self._left_out = 0
        self._names: dict[str, tuple[str, ...]] = {}
        self._processes: dict[int, str] = {}
        self._drops: dict[object, tuple[int | None, int | None]] = {}
        self._handed: tuple[int, int] = (0, 0)

    def begin(self, time_ns: int) -> None:
        """Note when capturing began; of several times the first."""
        if time_ns <= _LATEST_NS:
            self.began_ns = time_ns if self.began_ns is None else min(time_ns, self.began_ns)

    def end(self, time_ns: int) -> None:
        """Note when capturing ended; of several times the last, and none that no clock shows."""
        if time_ns <= _LATEST_NS:
            self.ended_ns = max(time_ns, self.ended_ns or 0)

    def comment(self, text: bytes, frame: int | None = None, interface: int | None = None) -> None:
        """Note a comment."""
        if len(self._comments) < COMMENTS:
            words = text[: 4 * COMMENT_LENGTH].rstrip(b"\0").decode("utf-8", "replace")[:COMMENT_LENGTH]
            self._comments.append((frame, interface, words))
        else:
            self._left_out += 1

    def uncommented(self, count: int) -> None:
        """Count comments that nobody has looked at."""
        self._left_out += count

    @property
    def full(self) -> bool:
        """Whether there is no room for another comment."""
        return len(self._comments) >= COMMENTS

    def name(self, address: str, names: list[str]) -> None:
        """Note what an address is called."""
        known = self._names.get(address, ())
        if known or len(self._names) < ADDRESSES:
            self._names[address] = tuple(dict.fromkeys((*known, *names)))[:NAMES]

    def process(self, number: int, name: str) -> None:
        """Note a process."""
        if number in self._processes or len(self._processes) < PROCESSES:
            self._processes[number] = name

    def drops(self, key: object, by_interface: int | None, by_kernel: int | None) -> None:
        """Note what was lost so far at one interface; what it said before is in there."""
        if key in self._drops or len(self._drops) < PROCESSES:
            before = self._drops.get(key, (None, None))
            self._drops[key] = (
                before[0] if by_interface is None else by_interface,
                before[1] if by_kernel is None else by_kernel,
            )

    def hand_to(self, info: CaptureInfo, file: str) -> None:
        """Add to a capture's ``info`` what is new."""
        info.timeless += self.timeless
        self.timeless = 0
        if self.began_ns is not None:
            info.began_ns = self.began_ns if info.began_ns is None else min(self.began_ns, info.began_ns)
        if self.ended_ns is not None:
            info.ended_ns = max(self.ended_ns, info.ended_ns or 0)
        room = max(0, COMMENTS - len(info.comments))
        info.comments += [Comment(file, *comment) for comment in self._comments[:room]]
        info.comments_left_out += self._left_out + len(self._comments[room:])
        self._comments, self._left_out = [], 0
        for address, names in self._names.items():
            known = info.names.get(address, ())
            if known or len(info.names) < ADDRESSES:
                info.names[address] = tuple(dict.fromkeys((*known, *names)))[:NAMES]
        for number, name in self._processes.items():
            if number in info.processes or len(info.processes) < PROCESSES:
                info.processes[number] = name
        self._names, self._processes = {}, {}
        lost = [[count for count in column if count is not None] for column in zip(*self._drops.values(), strict=True)]
        if lost:
            by_interface, by_kernel = map(sum, lost)
            if lost[0]:
                info.interface_drops = (info.interface_drops or 0) + by_interface - self._handed[0]
            if lost[1]:
                info.kernel_drops = (info.kernel_drops or 0) + by_kernel - self._handed[1]
            self._handed = (by_interface, by_kernel)
