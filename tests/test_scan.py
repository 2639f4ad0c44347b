"""scan(): options, a fingerprinter of one's own, what an early end and an interrupt leave, ids and states of flows."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import pytest

import build
import tamperscope as ts
from build import ANSWER, REQUEST, Frames, Talk, opened
from corpus import DEMO
from records import check
from tamperscope import core, flows, judge
from tamperscope.fingerprint import INJECTED, MARK_SENDS_AFTER_RST, Candidates, Fingerprinter, Observation
from tamperscope.fingerprinters import ALL
from tamperscope.model import Finding, FlowRecord
from tamperscope.report.jsonl import line
from tamperscope.scan import Scan, scan

FORGED = build.pcap(build.merged(build.forged_reset(), build.web(port=40_001), build.lookup()))


def findings(records: Any) -> list[Finding]:
    return [record for record in records if isinstance(record, Finding)]


def flow_records(frames: Frames, **options: Any) -> list[FlowRecord]:
    return [one for one in scan(build.pcap(frames), flows=True, **options) if isinstance(one, FlowRecord)]


def only(frames: Frames) -> FlowRecord:
    (record,) = flow_records(frames)
    check(record.to_dict())
    return record


# -- results


def test_a_finding_has_who_where_and_when() -> None:
    """Everything that the packets say about the flow stands in its finding."""
    (found,) = findings(scan(FORGED))
    check(found.to_dict())
    assert (found.mechanism, found.verdict, found.proof) == ("rst_injection", "confirmed", "contradiction")
    assert (found.client, found.client_port) == ("192.0.2.1", 40000)
    assert (found.server, found.server_port) == ("198.51.100.7", 80)
    assert (found.name, found.name_from, found.name_is_outer) == (b"plain.example", "http_host", False)
    assert found.injected_frames == _frames_with_ttl(FORGED, 61) and found.trigger_frame == 9
    assert found.time == "2024-01-20T14:02:11.030000000Z" and found.rtt_ms == 20.0
    (record,) = (one for one in scan(FORGED, flows=True) if isinstance(one, FlowRecord) and one.flow == found.flow)
    assert (record.community_id, record.rtt_ms, record.name) == (found.community_id, found.rtt_ms, found.name)


def _frames_with_ttl(data: bytes, ttl: int) -> list[int]:
    with ts.open_capture(data) as capture:
        return [frame for batch in capture for frame in batch.packets.frame[batch.packets.ttl == ttl].tolist()]


def test_summary_counts() -> None:
    taken = scan(FORGED)
    assert taken.summary.findings == {} and taken.summary.version == ts.__version__
    list(taken)
    told = taken.summary
    check(told.to_dict())
    assert (told.capture, told.format, told.frames, told.packets) == ("<bytes>", "pcap", 19, 19)
    assert told.bytes == len(FORGED) - 24 - 16 * 19
    assert (told.flows, told.transactions, told.candidates) == (3, 1, 1)
    assert told.findings == {"rst_injection": {"confirmed": 1}}
    assert (told.first_ns, told.last_ns) == (build.START * 10**9, build.START * 10**9 + 80_000_000)
    assert told.not_judged == {} and told.anomalies == {} and told.evicted == 0 and told.limits == []


def test_oddities_are_counted_by_name() -> None:
    """A cut packet and one of another protocol are rows with a bit, not errors."""
    frames = [*build.web(), (1.0, bytes(12) + b"\x08\x06" + bytes(28)), (1.1, build.web()[0][1][:30])]
    taken = scan(build.pcap(frames))
    list(taken)
    assert taken.summary.anomalies == {"not_ip": 1, "ip_cut": 1} and taken.notices == []


def test_clock_that_jumps_is_a_warning() -> None:
    """Two hours between packets that agree with each other: said, with no effect on the rest."""
    later = [(seconds + 7200, frame) for seconds, frame in build.web(port=40_002)]
    taken = scan(build.pcap(build.web() + later))
    list(taken)
    (notice,) = taken.notices
    check(notice.to_dict())
    assert (notice.level, notice.code, notice.offset) == ("warning", "time_jump", None)
    assert notice.text == f"the capture's clock jumps by 7200 s at frame {notice.frame}"


def test_link_type_that_is_not_decoded_is_an_error() -> None:
    """Frames nobody understood are no capture without interference."""
    taken = scan(build.pcap(build.web(), link_type=147))
    with pytest.raises(ts.LinkTypeError, match="link type 147 is not decoded; 9 frames counted") as refused:
        list(taken)
    error = refused.value
    assert (error.link_type, error.code, error.path, error.need) == (147, "unknown_link_type", "<bytes>", 9)
    assert taken.notices == [] and taken.summary.frames == 9  # raised, so not told twice
    empty = scan(build.pcap([], link_type=147))
    assert list(empty) == [] and empty.summary.frames == 0


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"max_flows": 0}])
def test_wrong_numbers(options: dict[str, int]) -> None:
    """0 must not come to mean "all"."""
    for call in (scan, ts.open_capture):
        with pytest.raises(ValueError, match="must be at least 1"):
            call(FORGED, **options)


def test_limit() -> None:
    """Frames behind the limit do not exist: no notice of a cut, and flows are open."""
    taken = scan(FORGED, limit=12, flows=True)
    records = list(taken)
    assert taken.summary.frames == 12 and taken.notices == []
    assert {one.final_by for one in records if isinstance(one, FlowRecord)} == {"cut_by_end"}


@pytest.mark.parametrize("wanted", [False, True])
def test_flows_only_where_asked_for(wanted: bool) -> None:
    kinds = [type(record) for record in scan(FORGED, flows=wanted)]
    assert kinds == [FlowRecord] * (3 * wanted) + [Finding]


def test_same_bytes_every_time() -> None:
    """Two scans of one input give one output, whatever the random key, the size of pieces and of batches."""
    wanted = [line(record) for record in scan(DEMO, flows=True)]
    keyed = Scan(DEMO, flows=True, key=bytes(16), batch_packets=7, candidate_bytes=1)
    assert len(findings(keyed)) == 64
    for taken in (scan(DEMO, flows=True), Scan(DEMO, flows=True, key=b"0123456789abcdef", batch_packets=1)):
        assert [line(record) for record in taken] == wanted
        assert taken.notices == []


class Pieces(io.BytesIO):
    size = 64

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.size)


def test_vantage_of_a_flow_does_not_depend_on_the_pieces() -> None:
    """Each flow says what was known when it became final, and not when somebody took its batch."""
    near = [opened(port=41_000 + i, start=i * 100).frames for i in range(4)]  # the answer comes after 10 ms
    far: list[Frames] = []
    for i in range(12):
        talk = Talk(port=42_000 + i, start=500 + i * 100).client("S", ttl=52)
        talk.now -= 0.0099
        far.append(talk.server("SA", ttl=64).wait(0.03).client("A", ttl=52).frames)
    for i, part in enumerate(near):
        near[i] = [part[0], part[1], (part[1][0] + 0.0001, part[2][1])]
    data = build.pcap(build.merged(*near, *far, build.web(port=43_000, start=3000)))
    seen = [[one.vantage for one in scan(source, flows=True)] for source in (data, Pieces(data))]
    assert seen[0] == seen[1]
    assert [seen[0][0], seen[0][6], seen[0][15]] == ["client", "unknown", "server"]


# -- a fingerprinter of one's own


class Late(Fingerprinter):
    """Columns: any packet after a reset of its own."""

    mechanism = "ip_block"
    marks = MARK_SENDS_AFTER_RST
    weights = (
        {"id": "late", "group": "mine", "weight": 6.0, "text": "{n} late packets", "reason": "a test", "proof": True,
         "class": "contradiction"},
    )  # fmt: skip

    def examine(self, c: Candidates) -> list[Observation]:
        late = c.is_packet & (c.trace["what"] & 32 != 0)
        return [c.observe("late", c.any(late), late, INJECTED, {"n": c.count(late)})]


class Slow(Late):
    """The same with a loop over single flows."""

    def examine(self, candidates: Candidates) -> list[Observation]:
        chosen = candidates.is_packet & False
        for flow in candidates:
            assert flow.name == b"plain.example" and int(flow.flow["server_port"]) == 80 and flow.context is not None
            start = candidates.offsets[flow.index]
            for i, row in enumerate(flow.trace):
                chosen[start + i] = row["what"] & 32 != 0
        return [candidates.observe("late", candidates.any(chosen), chosen, INJECTED, {"n": candidates.count(chosen)})]


@pytest.mark.parametrize("kind", [Late, Slow])
def test_fingerprinter_of_ones_own(kind: type[Fingerprinter]) -> None:
    """It alone decides what is a candidate, and its facts come out as evidence with their frames."""
    (found,) = findings(scan(FORGED, fingerprinters=[kind()]))
    check(found.to_dict())
    assert (found.mechanism, found.verdict) == ("ip_block", "confirmed")
    assert [(one.id, one.text) for one in found.evidence] == [("late", "2 late packets")]
    assert found.evidence[0].frames == found.injected_frames and len(found.injected_frames) == 2


def test_no_fingerprinter_no_candidate() -> None:
    taken = scan(FORGED, fingerprinters=[])
    assert list(taken) == [] and taken.summary.candidates == 0


def test_wrong_fingerprinter_closes_the_input(tmp_path: pathlib.Path) -> None:
    """A class instead of an instance, or any object, is a mistake that shows before anything is read."""
    with pytest.raises(AttributeError):
        scan(FORGED, fingerprinters=[object()])  # type: ignore[list-item]


# -- early ends


class Interrupts(io.BytesIO):
    """Raises at its n-th read, as Ctrl-C does."""

    def __init__(self, data: bytes, reads: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        super().__init__(data)
        self.left, self.error = reads, error

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().read(min(size or 0, 1000))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupt_leaves_what_was_read(error: type[BaseException]) -> None:
    """The exception comes through; `rest` then judges what was read, and does not call the input damaged."""
    taken = scan(Interrupts(FORGED + FORGED[24:], 2, error), flows=True)
    with pytest.raises(error):
        list(taken)
    assert list(taken) == []
    records = list(taken.rest())
    assert len(findings(records)) == 1 and len(records) == 4
    assert taken.notices == [] and 15 < taken.summary.frames < 40
    assert list(taken.rest()) == []


def test_interrupt_among_findings() -> None:
    """Each finding comes once, whether before or after the interrupt."""
    wanted = [one.id for one in findings(scan(DEMO))]

    class Stops(Fingerprinter):
        stop = False

        def examine(self, candidates: Any) -> list[Observation]:
            if Stops.stop:
                Stops.stop = False
                raise KeyboardInterrupt
            return []

    stops = Stops()
    stops.mechanism, stops.marks = "ip_block", (1 << 31) - 1
    Stops.stop = True
    taken = scan(DEMO, fingerprinters=[*(one() for one in ALL), stops])
    with pytest.raises(KeyboardInterrupt):
        list(taken)
    assert [one.id for one in findings(taken.rest())] == wanted
    again = Scan(DEMO)
    first = [next(again) for _ in range(10)]
    again.close()
    assert [one.id for one in findings([*first, *again.rest()])] == wanted
    assert taken.summary.findings == again.summary.findings


def test_close_ends_it(tmp_path: pathlib.Path) -> None:
    """Also in the middle; what was counted stays, nothing is called cut, and closing twice does nothing."""
    path = tmp_path / "a.pcap"
    path.write_bytes(FORGED)
    with scan(path, flows=True) as taken:
        assert next(taken)
        taken.close()
        assert list(taken) == [] and taken.notices == [] and taken.summary.frames == 19
    taken.close()
    unread = scan(Interrupts(FORGED, 99))
    unread.close()
    assert list(unread) == [] and unread.notices == []


# -- flows


STATES = {
    "S0": Talk().client("S").wait(1),
    "S1": opened().client("PA", REQUEST).server("PA", ANSWER),
    "S2": opened().client("PA", REQUEST).client("FA").server("A"),
    "S3": opened().client("PA", REQUEST).server("PA", ANSWER).server("FA").client("A"),
    "SF": opened().client("PA", REQUEST).server("PA", ANSWER).client("FA").server("FA").client("A"),
    "REJ": Talk().client("S").server("RA"),
    "RSTO": opened().client("PA", REQUEST).server("PA", ANSWER).client("RA"),
    "RSTO, though the server resets too": opened().client("PA", REQUEST).client("R").server("R"),
    "RSTR": opened().client("PA", REQUEST).server("RA"),
    "RSTR, though the client resets too": opened().client("PA", REQUEST).server("RA").client("R"),
    "RSTOS0": Talk().client("S").client("R"),
    "RSTRH": Talk().server("SA").server("R"),
    "SH": Talk().client("S").client("FA"),
    "SHR": Talk().server("SA").server("FA"),
    "OTH": Talk().client("PA", REQUEST).server("PA", ANSWER),
    "OTH, SYN+ACK alone": Talk().server("SA"),
    "OTH, answered without SYN+ACK": Talk().client("S").server("PA", ANSWER),
}


@pytest.mark.parametrize("state", STATES)
def test_conn_state(state: str) -> None:
    """Zeek's words for how far a connection came."""
    record = only(STATES[state].frames)
    assert record.conn_state == state.split(",")[0]
    assert (record.client, record.client_port) == (build.CLIENT, 40_000)


def test_long_flow_keeps_its_state() -> None:
    """The history is bounded; the state does not hang on what fell out of it."""
    talk = opened()
    for i in range(40):
        (talk.client if i % 2 else talk.server)("PA", b"x" * (i + 1))
        talk.client("A") if i % 3 else talk.server("A")
    assert only(talk.client("RA").frames).conn_state == "RSTO"


def test_udp_has_no_state() -> None:
    record = only(build.lookup())
    assert (record.proto, record.conn_state, record.history, record.name) == ("udp", None, None, b"plain.example")
    assert (record.client_by, record.stage, record.rtt_ms) == ("query", "dns", None)


def test_flow_record_of_a_plain_exchange() -> None:
    record = only(build.web())
    assert (record.packets_to_server, record.packets_to_client) == (6, 3)
    assert (record.bytes_to_server, record.bytes_to_client) == (len(REQUEST), len(ANSWER))
    assert (record.name, record.name_from, record.client_by) == (b"plain.example", "http_host", "syn")
    assert (record.outcome, record.stage, record.final_by) == ("ok", "transfer", "cut_by_end")
    assert (record.first_frame, record.last_frame, record.rtt_ms, record.vlan) == (1, 9, 20.0, None)
    assert (record.time, record.end_ns) == ("2024-01-20T14:02:11.000000000Z", build.START * 10**9 + 80_000_000)


@pytest.mark.parametrize(("text", "raw"), [("192.0.2.1", bytes(10) + b"\xff\xff\xc0\0\2\1"), ("::", bytes(16))])
def test_address(text: str, raw: bytes) -> None:
    assert flows.address(raw) == text


def test_ipv6_flow() -> None:
    record = only(build.web(client="2001:db8::1", server="2001:db8:0:1::2"))
    assert (record.client, record.server, record.outcome) == ("2001:db8::1", "2001:db8:0:1::2", "ok")


@pytest.mark.parametrize(
    ("protocol", "client", "client_port", "server", "server_port", "wanted"),
    [
        (6, "128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (17, "192.168.1.52", 54585, "8.8.8.8", 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
    ],
)
def test_community_id(protocol: int, client: str, client_port: int, server: str, server_port: int, wanted: str) -> None:
    """The examples published with the specification, from both ends."""
    for ends in ((client, client_port, server, server_port), (server, server_port, client, client_port)):
        frame = build.tcp(*ends, "A", 1, 1, b"x") if protocol == 6 else build.udp(*ends, b"x")
        assert only([(0, frame)]).community_id == wanted


def test_words_of_the_header() -> None:
    """Every number that a record can hold has a word that its schema knows."""
    assert set(flows.FINAL_BY) == set(core.enum_words("tscope_final_by"))
    assert core.enum_words("tscope_outcome")[2] == "reset"


def test_votes_are_counted_as_the_core_does() -> None:
    """The vantage of flow records and that of findings rest on one rule."""
    counting = core.Core(core.FLOWS)
    counting.feed(DEMO.read_bytes())
    counting.end()
    votes = flows.Votes()
    while batch := counting.take(core.FLOWS):
        for row in batch.table("flows", "tscope_flow", "n_flows"):
            votes.add(row)
    assert votes.counts == list(counting.summary().vantage) and sum(votes.counts) > 200


@pytest.mark.parametrize("fact", judge.LIMITS)
def test_limits_of_a_finding(fact: str) -> None:
    """Each fact that limits what can be said of a flow is said, and nothing but those."""
    assert judge._limits(core.constant(fact)) == [judge.LIMITS[fact]]
    assert judge._limits(core.constant("FACT_SYN") | core.constant("FACT_HANDSHAKE")) == []
    assert len(judge._limits(0xFFFFFFFF)) == len(judge.LIMITS) == 8
