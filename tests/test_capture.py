"""open_capture(): tables as views over the core's own memory, and what stays of them."""

from __future__ import annotations

import copy
import gc
import io
import pathlib
import pickle
import weakref

import numpy as np
import pytest

import build
import tamperscope as ts
from corpus import DEMO
from tamperscope import core
from tamperscope.model import FlowRecord
from tamperscope.scan import scan

DATA = build.pcap(build.merged(build.forged_reset(), build.web(port=40_001), build.lookup()))
FRAMES = 19


def test_packets() -> None:
    """Fields have the header's units; time is exact to the nanosecond."""
    with ts.open_capture(build.pcap(build.web(), nanoseconds=True)) as capture:
        (batch,) = capture
    rows = batch.packets
    assert len(batch) == len(rows) == 9
    assert rows.frame.tolist() == list(range(1, 10)) and set(rows.flow.tolist()) == {1}
    assert rows.time_ns.tolist() == [build.START * 10**9 + i * 10_000_000 for i in range(9)]
    assert rows.flags[:3].tolist() == [ts.SYN, ts.SYN | ts.ACK, ts.ACK]
    assert (rows.address("source", 0), rows.address("destination", 0)) == (build.CLIENT, build.SERVER)
    assert (rows.source_port[0], rows.destination_port[0], rows.ttl[1]) == (40_000, 80, 52)
    assert rows.payload_length.sum() == len(build.REQUEST) + len(build.ANSWER)
    assert set(rows.vlan.tolist()) == {0xFFFF} and not rows.anomalies.any()


def test_columns_are_views_without_copies() -> None:
    """A column, and the table itself, is memory of the core's batch: no copy, and read-only."""
    with ts.open_capture(DATA) as capture:
        (batch,) = capture
        flows = capture.flows
    for table in (batch.packets, flows):
        assert not table.array.flags.owndata and not table.array.flags.writeable
        start, end = np.lib.array_utils.byte_bounds(table.array)
        for field in table.array.dtype.names or ():
            column = getattr(table, field)
            low, high = np.lib.array_utils.byte_bounds(column)
            assert np.shares_memory(column, table.array) and start <= low < high <= end, field
            with pytest.raises(ValueError, match="read-only"):
                column[...] = 0


def test_table_is_the_memory_of_the_core() -> None:
    """The address of the array is the pointer in the batch."""
    one = core.Core(core.PACKETS)
    one.feed(DATA)
    one.end()
    batch = one.take(core.PACKETS)
    assert batch is not None
    rows = batch.table("packets", "tscope_packet", "n_packets")
    assert rows.ctypes.data == int(core.ffi.cast("uintptr_t", batch.handle.packets))


def test_columns_keep_the_batch_alive() -> None:
    """A column outlives table, batch, capture and file; the memory goes with the last column."""
    capture = ts.open_capture(DATA)
    (batch,) = capture
    column = batch.packets.frame
    base = column
    while not hasattr(base, "owner"):
        base = base.base
    held = weakref.ref(base.owner)
    capture.close()
    del base, batch, capture
    gc.collect()
    assert held() is not None and column.tolist() == list(range(1, FRAMES + 1))
    del column
    gc.collect()
    assert held() is None


def test_table_can_be_copied_and_pickled() -> None:
    """Attributes that are not there yet are no columns."""
    flows = ts.open_capture(DATA).flows
    for other in (copy.copy(flows), pickle.loads(pickle.dumps(flows))):
        assert (other.array == flows.array).all() and other.name(0) == flows.name(0)


def test_unknown_column_is_named() -> None:
    flows = ts.open_capture(DATA).flows
    with pytest.raises(AttributeError, match="no column 'windows'; there are number, first_frame"):
        _ = flows.windows
    assert "server_port" in dir(flows) and "3 rows" in repr(flows)


@pytest.mark.parametrize("rows", [1, 4, 19, 20, 65_536])
def test_batches(rows: int) -> None:
    """No batch is longer than asked for, none is empty, and together they are the file."""
    with ts.open_capture(DATA, batch_packets=rows) as capture:
        sizes, frames = [], []
        for batch in capture:
            sizes.append(len(batch))
            frames += batch.packets.frame.tolist()
    assert max(sizes) <= rows and min(sizes) > 0 and frames == list(range(1, FRAMES + 1))
    assert len(sizes) == -(-FRAMES // rows)


class Pieces(io.BytesIO):
    """A file that gives few bytes at a time."""

    size = 1

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.size)


def test_batches_do_not_depend_on_the_pieces() -> None:
    with ts.open_capture(Pieces(DATA), batch_packets=4) as capture:
        assert [len(batch) for batch in capture] == [4, 4, 4, 4, 3]


def test_flows_equal_the_records_of_a_scan() -> None:
    """Tables and records are two forms of one thing; many batches of flows are joined with their names."""
    records = [one for one in scan(DEMO, flows=True) if isinstance(one, FlowRecord)]
    with ts.open_capture(DEMO, batch_packets=50) as capture:
        for _ in capture:
            pass
        flows = capture.flows
    assert flows.number.tolist() == [one.flow for one in records]
    assert [flows.name(i) for i in range(len(flows))] == [one.name for one in records]
    assert [flows.address("client", i) for i in range(len(flows))] == [one.client for one in records]
    assert flows.packets.tolist() == [[one.packets_to_server, one.packets_to_client] for one in records]
    assert capture.flows is flows


def test_flows_alone() -> None:
    """Asked for without iterating, they are read without packets; the whole comes to the same."""
    alone = ts.open_capture(DEMO).flows
    with ts.open_capture(DEMO) as capture:
        list(capture)
        assert (alone.array["number"] == capture.flows.array["number"]).all() and len(alone) == 577


def test_flows_need_the_end() -> None:
    with ts.open_capture(DATA, batch_packets=4) as capture:
        next(iter(capture))
        with pytest.raises(ValueError, match="iterate to the end first"):
            _ = capture.flows
    with pytest.raises(ValueError, match="keep_flows=False"):
        _ = ts.open_capture(DATA, keep_flows=False).flows


def test_read_once() -> None:
    with ts.open_capture(DATA) as capture:
        list(capture)
        with pytest.raises(ValueError, match="read once"):
            list(capture)


def test_close_ends_iteration() -> None:
    """Nothing more is read, and nothing is called cut."""
    capture = ts.open_capture(DEMO, batch_packets=1000)
    rows = iter(capture)
    for _ in range(3):
        next(rows)
    capture.close()
    list(rows)  # what had been read before
    assert capture.notices == []
    with pytest.raises(ValueError, match="iterate to the end first"):
        _ = capture.flows


def test_limit() -> None:
    with ts.open_capture(DATA, limit=7) as capture:
        assert sum(map(len, capture)) == 7 and capture.notices == []


def test_empty_capture_has_no_batches() -> None:
    with ts.open_capture(build.pcap([])) as capture:
        assert list(capture) == [] and len(capture.flows) == 0
        assert capture.flows.server_port.shape == (0,) and capture.flows.client.shape == (0, 16)


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [(b"\0" * 30, ts.CaptureError, "not a capture"), (bytearray(), ts.CaptureError, "empty file")],
)
def test_nothing_to_read(data: bytes, error: type[Exception], said: str) -> None:
    with ts.open_capture(data) as capture, pytest.raises(error, match=said):
        list(capture)


def test_damage_is_a_notice() -> None:
    with ts.open_capture(DATA[:-1]) as capture:
        assert sum(map(len, capture)) == FRAMES - 1
        assert [one.code for one in capture.notices] == ["truncated_record"]


def test_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        ts.open_capture(tmp_path / "no.pcap")


def test_rows_of_an_unknown_link_type_stand() -> None:
    """Tables hold what is known of a frame; that nothing was decoded is a bit in each row, and a notice."""
    with ts.open_capture(build.pcap(build.web(), link_type=147)) as capture:
        (batch,) = capture
        assert batch.packets.captured_length.all() and not batch.packets.protocol.any()
        assert (batch.packets.anomalies & core.constant("AN_LINKTYPE")).all()
        assert [one.code for one in capture.notices] == ["unknown_link_type"]
