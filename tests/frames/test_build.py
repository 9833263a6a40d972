"""From a source to frames: what goes wrong on one of the threads is said, whichever batch it was."""

from __future__ import annotations

import pytest

import analyzer
from analyzer.frames.tracking import Tracking
from analyzer.settings import Settings
from tests.recordings import CAPTURES

pytestmark = [pytest.mark.kernels]
LIFE = CAPTURES / "life-of-a-connection" / "any.pcap"


@pytest.mark.parametrize("step", ["locate", "replay", "write", "judge"])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
def test_no_batch_is_lost_without_a_word(step, batch, monkeypatch):
    settings = Settings(batch_records=3)
    assert 12 < len(analyzer.read(LIFE, settings=settings).packets) <= 15
    taken, calls = getattr(Tracking, step), []

    def fails(self, *arguments):
        calls.append(self)
        if len(calls) == batch:
            raise MemoryError("no room")
        return taken(self, *arguments)

    monkeypatch.setattr(Tracking, step, fails)
    with pytest.raises(MemoryError, match="no room"):
        analyzer.read(LIFE, settings=settings)
