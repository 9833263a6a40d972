"""Reading works whatever event loop runs: in a notebook's cell, in a coroutine, in a thread, in several at once."""

from __future__ import annotations

import asyncio
import concurrent.futures

import pandas as pd

import analyzer
from tests.recordings import capture

LIFE = capture("life-of-a-connection")
CLOSES = "CLOSED>SYN_SENT>ESTABLISHED>FIN_WAIT_1>FIN_WAIT_2>TIME_WAIT"


def path() -> str:
    return str(analyzer.read(LIFE).flows.loc[0, "client_path"])


def test_inside_a_running_loop():
    """As in a notebook: the cell's code runs while the loop does."""

    async def cell() -> str:
        before = asyncio.get_running_loop()
        found = path()
        assert asyncio.get_running_loop() is before
        await asyncio.sleep(0)  # it still turns
        return found

    assert asyncio.run(cell()) == CLOSES


def test_filtered_inside_a_running_loop():
    """libpcap compiles the filter; no loop is asked."""

    async def cell() -> int:
        return len(analyzer.read(LIFE, bpf="tcp[tcpflags] & tcp-syn != 0").packets)

    assert asyncio.run(cell()) == 2


def test_in_a_thread_of_a_running_loop():
    async def cell() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(path) for _ in range(4)))

    assert asyncio.run(cell()) == [CLOSES] * 4


def test_in_a_thread_without_a_loop():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(path).result() == CLOSES


def test_several_threads_at_once_give_the_same_frames():
    names = ["life-of-a-connection", "many-connections", "half-close", "many-connections"]
    alone = [analyzer.read(capture(name)) for name in names]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        together = list(pool.map(lambda name: analyzer.read(capture(name)), names))
    for one, other in zip(alone, together, strict=True):
        for name, frame in one.frames.items():
            pd.testing.assert_frame_equal(other.frames[name], frame)


def test_the_callers_own_loop_is_left_alone():
    """A loop that the caller has made and not yet started is still the thread's loop, open, and runs."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert path() == CLOSES
        assert asyncio.get_event_loop() is loop
        assert loop.run_until_complete(asyncio.sleep(0, "runs")) == "runs"
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_saved_and_loaded_inside_a_running_loop(tmp_path):
    async def cell() -> pd.DataFrame:
        return analyzer.load(analyzer.read(LIFE).save(tmp_path / "saved")).packets

    pd.testing.assert_frame_equal(asyncio.run(cell()), analyzer.read(LIFE).packets)
