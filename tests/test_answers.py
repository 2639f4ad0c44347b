"""What the core reads of a server's first answer: on built connections, and against tshark's account of captures."""

from __future__ import annotations

import collections
import datetime
import gzip
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from corpus import CORPUS
from hostile import build, samples
from hostile.build import ACK, FIN, HANDSHAKE, PSH, Record, Segment
from tamperscope import core
from tamperscope.flows import address, bits
from test_oracle import comparison, disputed

CAPTURES = CORPUS / "captures"
# Heads that tshark does not report, because their bodies are not whole in the capture: (capture, frame).
BODY_MISSING = {
    ("flows/instagram.pcap", 80), ("flows/instagram.pcap", 130), ("flows/instagram.pcap", 467),
    ("tcp/http-tcp-seq-issue.pcap", 7), ("tunnels/gtp1_gn_normal_incl_fragmentation.pcap", 9),
}  # fmt: skip
KIND, WHAT = (core.enum_words(f"tscope_answer_{enum}") for enum in ("kind", "what"))


class Told(NamedTuple):
    """One flow and what its server said first."""

    flow: Any
    row: Any
    words: list[bytes]

    @property
    def kind(self) -> str:
        return KIND[int(self.row["kind"])]

    @property
    def what(self) -> set[str]:
        return {word for bit, word in WHAT.items() if int(self.row["what"]) & bit}

    @property
    def marks(self) -> set[str]:
        marks = bits("tscope_flow_mark", int(self.flow["marks"]))
        return {mark for mark in marks if mark.startswith(("answer_", "issuer_"))}


def told(data: bytes) -> list[Told]:
    """All flows of a capture."""
    one = core.Core(core.FLOWS)
    one.feed(data)
    one.end()
    out = []
    while batch := one.take(core.FLOWS):
        flows, answers = (batch.table(f"{kind}s", f"tscope_{kind}", "n_flows") for kind in ("flow", "answer"))
        for flow, row in zip(flows, answers, strict=True):
            ends = int(row["text_offset"]) + np.cumsum([0, *row["word_length"].tolist()])
            words = [batch.text[a:b] for a, b in itertools.pairwise(ends)]
            out.append(Told(flow.copy(), row.copy(), words))
    return out


# ---------------------------------------------------------------- built


def answered(*sent: Segment, said: bytes = samples.HELLO, port: int = 443) -> Told:
    """The flow of a connection in which the server sends these segments after the client has spoken."""
    segments = [*HANDSHAKE, Segment(0, PSH | ACK, said), *sent, Segment(0, ACK)]
    (one,) = told(build.pcap(build.conversation(segments, ports=(40000, port))))
    return one


def page(text: bytes, host: str = "a.example", **fields: Any) -> Told:
    return answered(Segment(1, PSH | ACK, text, **fields), said=build.request(host), port=80)


def seconds(year: int) -> int:
    return int(datetime.datetime(year, 1, 20, 19, 2, tzinfo=datetime.UTC).timestamp())


@pytest.mark.parametrize("size", [5, 40, 300, 16384])
def test_a_certificate_is_read_in_records_of_any_size(size: int) -> None:
    flight = build.server_hello() + build.certificate("w.example", names=("b.example", "*.example"))
    one = answered(Segment(1, PSH | ACK, build.tls_records(flight, size=size)))
    assert one.kind == "tls" and one.row["version"] == 0x0303 and one.row["cipher"] == 0xC02F
    assert one.words == [b"Box CA", b"Box", b"w.example", b""]
    assert (one.row["not_before"], one.row["not_after"]) == (seconds(2024), seconds(2025))
    assert one.what == {"certificate", "for_name"} and one.marks == {"issuer_private"}


@pytest.mark.parametrize(
    ("subject", "names", "fits"),
    [
        ("a.example", (), True), ("A.Example", (), True), ("*.example", (), True), ("b.example", (), False),
        ("b.example", ("c.example", "a.example"), True), ("a.b.example", (), False), ("*.a.example", (), False),
        ("", (), False),
    ],
)  # fmt: skip
def test_whether_a_certificate_is_for_the_name(subject: str, names: tuple[str, ...], fits: bool) -> None:
    flight = build.tls_records(build.server_hello() + build.certificate(subject, names=names))
    assert ("for_name" in answered(Segment(1, PSH | ACK, flight)).what) == fits


@pytest.mark.parametrize(
    ("issuer", "private"),
    [
        (("R11", "Let's Encrypt"), False), (("GeoTrust TLS RSA CA G1", "DigiCert Inc"), False),
        (("WE1", "Google Trust Services"), False), (("Amazon RSA 2048 M02", "Amazon"), False),
        (("Box CA", "Box"), True), (("DigiCert", "Box"), True), (("a.example", ""), True),
    ],
)  # fmt: skip
def test_public_authorities_are_known_by_their_organisation(issuer: tuple[str, str], private: bool) -> None:
    flight = build.tls_records(build.server_hello() + build.certificate(issuer=issuer))
    one = answered(Segment(1, PSH | ACK, flight))
    assert ("public" not in one.what) == private == ("issuer_private" in one.marks)
    assert ("self_signed" in one.what) == (issuer == ("a.example", ""))


def test_from_tls_1_3_on_no_certificate_is_seen() -> None:
    flight = build.tls_records(build.server_hello(0x0304, 0x1301)) + b"\x14\3\3\0\1\1\x17\3\3\0\x20" + bytes(32)
    one = answered(Segment(1, PSH | ACK, flight))
    assert one.kind == "tls" and one.row["version"] == 0x0304 and not one.what and not one.marks


def test_a_session_taken_up_again_shows_no_certificate() -> None:
    flight = build.tls_records(build.server_hello()) + b"\x14\3\3\0\1\1\x16\3\3\0\x20" + bytes(32)
    one = answered(Segment(1, PSH | ACK, flight))
    assert one.kind == "tls" and not one.what and not one.row["issuer"]


def test_an_alert() -> None:
    one = answered(Segment(1, PSH | ACK, b"\x15\3\1\0\2\2\x70"))
    assert one.kind == "tls_alert" and (one.row["alert_level"], one.row["alert"]) == (2, 0x70)


@pytest.mark.parametrize(
    ("text", "kind", "marks"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "http", {"answer_plain"}), (b"<html>no", "html", {"answer_plain"}),
        (b"SSH-2.0-x\r\n", "other", set()), (b"\x16\3\3\0\4\2\0\0\0", "other", set()),
    ],
)  # fmt: skip
def test_what_is_no_tls_in_answer_to_a_hello(text: bytes, kind: str, marks: set[str]) -> None:
    one = answered(Segment(1, PSH | ACK, text))
    assert one.kind == kind and one.marks == marks


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n<html>good", False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n<html>gone", False),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://www.a.example/\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.9:8080/deny\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[2001:db8::1]/\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\nlocation: http://deny.invalid/a\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nLocation: http://deny.invalid/a\r\n\r\n", False),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", True),
        (b"HTTP/1.1 451 Unavailable\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n<html><iframe src=x>", True),
        (b"HTTP/1.1 200 OK\r\n\r\n1a\r\n<html><iframe src=x>", True),
        (b"<html>no head", True),
    ],
)
def test_pages_of_the_kinds_that_filters_send(text: bytes, marked: bool) -> None:
    assert ("answer_page" in page(text, "w.a.example").marks) == marked


def test_words_of_a_page() -> None:
    text = b"HTTP/1.1 302 Found\r\nServer:  x \r\nLOCATION: http://b.example/?u=1\r\nContent-Length: 41\r\n\r\n"
    one = page(text + b"<html><head><TITLE lang=e> Not\nhere </TITLE></head>")
    assert one.words[:3] == [b"http://b.example/?u=1", b"x", b"Not\nhere"] and one.words[3].startswith(b"<html>")
    assert one.row["status"] == 302 and one.row["body_length"] == 41 and "elsewhere" in one.what


def test_a_page_has_one_digest_for_all_names() -> None:
    """Parameters and the name asked for are left out; another title or place is another page."""

    def digest(host: str, to: str, title: str = "No") -> int:
        text = f"HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n<html><title>{title}</title>"
        return int(page(text.encode(), host).row["page"])

    first = digest("a.example", "http://deny.invalid/a?u=a.example")
    assert first == digest("b.example", "http://deny.invalid/a?u=b.example")
    assert first != digest("a.example", "http://deny.invalid/b?u=a.example")
    assert first != digest("a.example", "http://deny.invalid/a?u=a.example", "Yes")
    assert digest("a.example", "https://a.example/") == digest("b.example", "https://www.b.example/x")


def test_other_bytes_for_the_same_place_are_a_conflict() -> None:
    first, second = b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + bytes(99)
    sent = Segment(1, PSH | ACK | FIN, first, seq=1), Segment(1, PSH | ACK, second, seq=1)
    one = answered(*sent, said=build.request(), port=80)
    assert one.row["status"] == 302 and one.row["conflict_frame"] == 6
    assert one.marks == {"answer_conflict", "answer_fin"}


@pytest.mark.parametrize("cut", [5, 33, 60])
def test_a_retransmission_is_no_conflict(cut: int) -> None:
    """The same bytes again, also in segments of another size."""
    text = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + b"<html>" + bytes(60)
    sent = Segment(1, PSH | ACK, text, seq=1), Segment(1, PSH | ACK, text[:cut], seq=1)
    one = answered(*sent, said=build.request(), port=80)
    assert not one.row["conflict_frame"] and not one.marks


def test_marks_of_the_first_packet() -> None:
    """Another TTL than the handshake's; sooner than the handshake took."""
    assert page(b"HTTP/1.1 200 OK\r\n\r\n", ttl=99).marks == {"answer_unlike"}
    talk = build.conversation(
        [*HANDSHAKE, Segment(0, PSH | ACK, build.request()), Segment(1, PSH | ACK, b"HTTP/1.1 200 OK\r\n\r\n")],
        ports=(40000, 80),
    )
    early = [Record(one.time_ns - (300 * build.MS if n == 0 else 0), one.data) for n, one in enumerate(talk)]
    assert told(build.pcap(early))[0].marks == {"answer_too_early"}


@pytest.mark.parametrize("stream", ["certificate", "certificate from behind", "page in two segments"])
def test_what_a_snap_length_cuts_is_not_claimed(stream: str) -> None:
    """A cut answer says so, or is not read at all; words are never longer than what was captured."""
    records = samples.STREAMS[stream]
    (whole,) = told(build.pcap(records))
    for snap in range(54, max(len(one.data) for one in records)):
        cut = [Record(one.time_ns, one.data[:snap], len(one.data)) for one in records]
        (one,) = told(build.pcap(cut, snap=snap))
        if one.kind not in ("none", "other") and "cut" not in one.what:
            assert one.words[:3] == whole.words[:3]


# ---------------------------------------------------------------- against tshark


class Event(NamedTuple):
    first: int
    frame: int
    value: tuple[Any, ...]


def oracle_events(path: str) -> dict[tuple[Any, ...], list[Event]]:
    """(source, port, destination, port) -> what tshark says the server said, in order."""
    compare = comparison()
    oracle = compare.load(str(CAPTURES / "oracle" / (path + ".json.gz")))
    out: dict[tuple[Any, ...], list[Event]] = collections.defaultdict(list)
    for frame, first, *ends, code, location in oracle.get("http_responses") or ():
        out[tuple(ends)].append(Event(first, frame, ("http", int(code), location)))
    for frame, first, *ends, version, cipher, _ in oracle.get("tls_server_hello") or ():
        out[tuple(ends)].append(Event(first, frame, ("tls", int(version, 16), int(cipher, 16))))
    for frame, *ends, level, description in oracle.get("tls_alerts") or ():
        out[tuple(ends)].append(Event(frame, frame, ("tls_alert", level, description)))
    return out


def ours(one: Told) -> tuple[Any, ...] | None:
    row = one.row
    if one.kind == "http":
        location = one.words[0].decode("latin-1")
        return ("http", int(row["status"]), location or None)
    if one.kind == "tls":
        return ("tls", int(row["version"]), int(row["cipher"]))
    if one.kind == "tls_alert":
        return ("tls_alert", int(row["alert_level"]), int(row["alert"]))
    return None


def answers_of_captures() -> Iterator[tuple[str, Told, list[Event]]]:
    compare, excused = comparison(), disputed()
    for name in sorted(compare.tree(str(CAPTURES / "oracle"))):
        if excused.get(name, set()) & {"*", "http_responses", "tls_server_hello", "tls_alerts"}:
            continue
        events = oracle_events(name)
        path = CAPTURES / name
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for one in told(data):
            flow = one.flow
            ends = (address(flow["server"].tobytes()), int(flow["server_port"]))
            to = (address(flow["client"].tobytes()), int(flow["client_port"]))
            yield name, one, events.get((*ends, *to), [])


@pytest.mark.skipif(not (CAPTURES / "oracle").is_dir(), reason="no captures of others (TAMPERSCOPE_CORPUS says where)")
def test_answers_agree_with_tshark(capsys: pytest.CaptureFixture[str]) -> None:
    """Each first answer that the core reads is what tshark reads in that frame."""
    agree, wrong = collections.Counter[str](), []
    for name, one, events in answers_of_captures():
        mine = ours(one)
        if mine is None:
            continue
        frame = int(one.row["frame"])
        found = [event.value for event in events if event.first <= frame <= event.frame or event.first == frame]
        if mine in found:
            agree[mine[0]] += 1
        elif (name, frame) not in BODY_MISSING or found:
            wrong.append((name, frame, mine, found))
    with capsys.disabled():
        print(f"\nfirst answers that agree with tshark: {dict(agree)}")
    assert agree["http"] >= 1 and agree["tls"] >= 1
    assert not wrong, "\n".join(map(str, wrong))
