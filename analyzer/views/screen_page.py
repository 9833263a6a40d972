"""docs/screen.md and docs/screen.svg: the live screen over a recorded capture, its keys, its marks, its order of troubles.

``python -m analyzer.views.screen_page`` prints the page, with ``svg`` behind it the picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analyzer.frames import schema
from analyzer.frames.standing import Follower
from analyzer.views import panes, trouble
from analyzer.views.asking import Answer
from analyzer.views.board import Board
from analyzer.views.played import Played
from analyzer.views.screen import LiveScreen

if TYPE_CHECKING:
    import pandas as pd

CAPTURE = pathlib.Path(__file__).parents[2] / "captures" / "many-connections"
END_S = 2.4  #: where it is looked at: all 60 connections have begun
_OWN = ("10.95.2.1", "fd95:2::1")  #: the client's, where tcpdump ran
_STEP_S = 0.2


def page() -> str:
    """Write docs/screen.md."""
    listed, opened, _ = _pictures()
    keys = "\n".join(f"| `{key}` | {what} |" for key, _, what in panes.KEYS)
    marks = "\n".join(f"| `{mark}` | {what} |" for mark, what in panes.MARKS)
    return f"""# The live screen

Generated from `analyzer/views/screen_page.py` and the capture `captures/many-connections`.

`analyzer live` on a terminal shows this, at 80 by 24 and larger; `--plain`, a pipe, `TERM=dumb`, or a Python without Textual
(`pip install 'tcp-handshake-analyzer[screen]'`) give lines instead. Above: sockets by state, as the packets have it and as
this host's kernel says, with a bar for each part of the last minutes. The packets' counts are of the ends on this host, or
of both ends where the capture shows none that is; the kernel's are of the sockets with the port that was asked for, or of
all. Then the connections, with both ends' states. Below: all there is to say of the one that is chosen, and the newest
warnings and errors. What the kernel dropped always stands above on the right.

```
{listed}
```

A wider screen has columns for retransmissions, age, octets and the trouble's name: [as a picture](screen.svg).
`retr` counts what was sent again by either end: SYNs, SYN-ACKs, FINs and data.

A connection that is over stays for a minute, and a state that has just changed stands on yellow for two seconds. The
screen asks twice a second for what is new, and makes rows only for the lines there are: 20,000 connections take it a few
milliseconds.

| key | does |
| --- | --- |
{keys}

| mark | means |
| --- | --- |
{marks}

## A connection, opened

The frame's number, seconds since the first segment that is shown; `>` is sent by the client, `<` by the server. Anomalies
stand under their segments, with the marks of the list.

```
{opened}
```

## What is worse than what

The list begins with the worst; each connection stands where the first of these that is true of it stands. What *passes*
counts for {trouble.PASSES_S:g} seconds, a state for as long as it lasts, from {trouble.LASTING_S:g} second on. The meanings
stand in [anomalies.md](anomalies.md) and [verdicts.md](verdicts.md).

{trouble.as_markdown()}
"""


def picture() -> str:
    """Draw docs/screen.svg: no fonts from elsewhere."""
    return re.sub(r"@font-face \{.*?\}\s*", "", _pictures((120, 30))[2], flags=re.DOTALL)


def _pictures(size: tuple[int, int] = (80, 24)) -> tuple[str, str, str]:
    """The list and an opened connection as text, and the list as SVG."""
    found: list[str] = []
    kernel = _kernel(CAPTURE / "sockets.csv")
    played = Played([str(CAPTURE / "eth.pcap")], lambda now: kernel if now - played.start > END_S else None, _OWN)
    screen = LiveScreen(played, Board(_OWN), "eth0 tcp", asks=False)

    async def drive() -> None:
        follower = Follower()

        def to(seconds: float) -> None:
            played.play(seconds)
            said = played.standing(follower)
            screen.take(Answer(said, played.sockets(), played.now, played.records, screen.asked_flow()))

        async with screen.run_test(size=size) as pilot:
            await pilot.pause()
            for step in range(round(END_S / _STEP_S) + 1):
                to(step * _STEP_S)
            to(END_S + 1.1)
            await pilot.press("e")
            await pilot.pause()
            found.extend((screen.text, screen.export_screenshot(title="analyzer live")))
            await pilot.press("s", "s", "s", "s", "enter")
            to(END_S + 1.2)
            await pilot.pause()
            found.append(screen.text)

    try:
        with _utc():
            asyncio.run(drive())
    finally:
        played.close()
    return found[0], found[2], found[1]


def _kernel(path: pathlib.Path) -> pd.DataFrame:
    """Read what ``netstat -nat`` showed at the client, as ``analyzer.sockets()`` gives sockets."""
    import pandas as pd

    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["host"] == "client"]
    said: dict[str, list[Any]] = {
        "state": [row["state"] for row in rows],
        "address": [row["local_addr"] for row in rows],
        "port": [int(row["local_port"]) for row in rows],
        "peer_address": [row["remote_addr"] for row in rows],
        "peer_port": [int(row["remote_port"]) for row in rows],
    }
    data: dict[str, Any] = {}
    for column in schema.SCHEMAS["sockets"].columns:
        dtype: Any = schema.pandas_dtype(column)
        if column.dtype == "category" and not column.vocabulary:
            dtype = pd.CategoricalDtype(pd.Index(sorted(set(said.get(column.name, []))), dtype="str"))
        data[column.name] = pd.Series(said.get(column.name, [None] * len(rows)), dtype=dtype)
    return pd.DataFrame(data)


@contextlib.contextmanager
def _utc() -> Iterator[None]:
    """The newest anomalies have local times; here those of UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


if __name__ == "__main__":
    print(picture() if sys.argv[1:] == ["svg"] else page())  # noqa: T201
