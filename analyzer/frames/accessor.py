"""``df.tcp``: what a plain frame of this package can be asked.

>>> analysis.packets.tcp.flow(3)  # doctest: +SKIP
>>> analysis.packets.tcp.handshakes  # doctest: +SKIP
>>> analysis.packets.query("dport == 9502").tcp.in_state("CLOSE_WAIT")  # doctest: +SKIP

The accessor is there only on frames that have the columns that it needs; on others it is an AttributeError, as
pandas has it.
"""

from __future__ import annotations

import pandas as pd

from analyzer.frames.vocabulary import STATES, STEPS

_ROWS = {"packets": "segment", "flows": "connection", "transitions": "state change", "anomalies": "anomaly"}
_QUESTIONS = {
    "packets": "flow(n), handshakes, closes, in_state(state), states",
    "flows": "flow(n), handshakes, closes, in_state(state), states",
    "transitions": "flow(n), in_state(state)",
    "anomalies": "flow(n)",
}
_NEEDED = {
    "packets": ("flow", "step", "client_state", "server_state"),
    "flows": ("handshake", "close", "client_state", "server_state"),
    "transitions": ("flow", "endpoint", "old", "new", "evidence"),
    "anomalies": ("flow", "kind", "severity"),
}


@pd.api.extensions.register_dataframe_accessor("tcp")
class TcpAccessor:
    """Questions about connections, asked of `packets`, `flows`, `transitions` or `anomalies`, or of a part of them."""

    def __init__(self, frame: pd.DataFrame) -> None:
        for name, needed in _NEEDED.items():
            if all(column in frame.columns for column in needed):
                self._frame, self._kind = frame, name
                return
        raise AttributeError("df.tcp needs a frame of analyzer.read(): packets, flows, transitions or anomalies")

    def __repr__(self) -> str:
        """Say what the rows are, and what can be asked of them."""
        count, noun = len(self._frame), _ROWS[self._kind]
        said = _counted(count, noun)
        if self._kind != "flows":
            said += f" of {_counted(int(self._frame['flow'].nunique()), 'connection')}"
        return f"df.tcp of `{self._kind}`, {said}. Ask it: {_QUESTIONS[self._kind]}"

    def flow(self, *numbers: int) -> pd.DataFrame:
        """Return the rows of these connections."""
        of = self._frame.index if self._kind == "flows" else self._frame["flow"]
        return self._frame[of.isin(list(numbers))]

    @property
    def handshakes(self) -> pd.DataFrame:
        """The opening: of `packets` the segments of the handshakes, of `flows` the connections that completed it."""
        if self._kind == "packets":
            return self._frame[self._frame["step"].isin(_steps("open"))]
        self._only("flows")
        return self._frame[self._frame["handshake"].isin(["complete", "simultaneous"])]

    @property
    def closes(self) -> pd.DataFrame:
        """The end: of `packets` the segments of the closes and resets, of `flows` the connections that ended."""
        if self._kind == "packets":
            return self._frame[self._frame["step"].isin([*_steps("close"), "reset"])]
        self._only("flows")
        return self._frame[~self._frame["close"].isin(["still open", "half-closed"])]

    def in_state(self, *states: str) -> pd.DataFrame:
        """Return the rows in which either end is in one of these states.

        Raises
        ------
        ValueError
            If a name is not a state's (``SYN-SENT`` and ``SYN_SENT`` are the same).
        """
        names = [state.upper().replace("-", "_") for state in states]
        unknown = [state for state in names if state not in STATES]
        if unknown:
            raise ValueError(f"not a TCP state: {', '.join(unknown)}; states are {', '.join(STATES)}")
        if self._kind == "transitions":
            return self._frame[self._frame["new"].isin(names)]
        self._only("packets", "flows")
        return self._frame[self._frame["client_state"].isin(names) | self._frame["server_state"].isin(names)]

    @property
    def states(self) -> pd.DataFrame:
        """How many rows have each pair of states: client's down, server's across, in the RFC's order, none empty."""
        self._only("packets", "flows")
        table = pd.crosstab(self._frame["client_state"], self._frame["server_state"])
        return table.reindex(
            index=[state for state in STATES if state in table.index],
            columns=[state for state in STATES if state in table.columns],
        )

    def _only(self, *kinds: str) -> None:
        if self._kind not in kinds:
            raise AttributeError(f"this question is for {' and '.join(kinds)}, not for {self._kind}")


def _counted(count: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def _steps(part: str) -> list[str]:
    return [step for step in STEPS if part in step.split()]
