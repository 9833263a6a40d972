"""Other people's captures: the same records as the plain-Python reference and as capinfos count."""

from __future__ import annotations

import csv
import io
import subprocess

import pytest

from analyzer.capture.files import open_capture
from analyzer.errors import CaptureError
from tests.capture import conformance, reference

pytestmark = pytest.mark.kernels


def test_all_captures_read_as_the_reference_reads_them() -> None:
    for path in conformance.captures():
        expected = reference.read(path.read_bytes())
        source = open_capture(path)
        times: list[int] = []
        captured: list[int] = []
        wire: list[int] = []
        for batch in source.batches():
            times += batch.time_ns.tolist()
            captured += batch.captured.tolist()
            wire += batch.wire.tolist()
        source.close()
        assert times == [record.time_ns for record in expected.records], path
        assert captured == [len(record.data) for record in expected.records], path
        assert wire == [record.wire for record in expected.records], path
        assert bool(source.info.damage) == expected.damaged, path


def test_capinfos_counts_the_same() -> None:
    paths = conformance.captures()
    chosen = [path for path in paths if path.suffix == ".pcapng"] + paths[::25]
    try:
        # Its exit code tells of cut files, which are among them.
        done = subprocess.run(
            ["capinfos", "-c", "-T", "-m", "-M", *chosen], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("capinfos is not installed (apt install wireshark-common)")
    counted = {row["File name"]: int(row["Number of packets"]) for row in csv.DictReader(io.StringIO(done.stdout))}
    assert len(counted) > 20
    for path in chosen:
        if str(path) in counted:
            source = open_capture(path)
            assert sum(len(batch.frame) for batch in source.batches()) == counted[str(path)], path
            source.close()


def test_what_is_no_capture_there_is_refused() -> None:
    known = set(conformance.captures())
    others = [path for path in conformance.FOLDER.rglob("*") if path.is_file() and path not in known]
    assert others
    for path in others[::20]:
        with pytest.raises(CaptureError):
            open_capture(path)
