"""Forged pages, each leg by itself, and what looks just like them."""

from __future__ import annotations

from typing import Any

import pytest

from connections import client, connection, forged, found, ids, server
from hostile import build
from hostile.build import Record
from tamperscope.fingerprinters.blockpage import KnownPages

GOOD = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 9\r\n\r\n<html>ok!"
DENY = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://192.0.2.99/deny\r\n\r\n"
KNOWN = b"HTTP/1.0 302 Moved\r\nContent-Length: 0\r\nLocation: http://lamanlabuh.aduankonten.id/\r\n\r\n"
BARE = b"<html><head><title>Not here</title></head><body>This site is not accessible.</body></html>"
MOVED = b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://www.b.example/\r\nContent-Length: 0\r\n\r\n"


def asked(*answers: Any, name: str = "a.example", **where: Any) -> list[Record]:
    """A connection in which a page is asked for."""
    return connection(client("PA", build.request(name)), *answers, **where)


def answered(number: int, name: str, **where: Any) -> list[Record]:
    """One that goes well."""
    end = client("A"), client("FA"), server("FA"), client("A")
    return asked(server("A"), server("PA", GOOD, ms=1), *end, name=name, number=number, **where)


def rival(**fields: Any) -> tuple[Any, ...]:
    """The server's own answer, for the place that was filled."""
    return (server("PA", GOOD, **{"ms": 75, "seq": 1, **fields}),)


FORGED = {
    "the server's answer follows": (asked(forged("PA", DENY), *rival()), [5]),
    "a page that ends the connection": (asked(forged("FPA", DENY), client("FA"), *rival()), [5]),
    "a page of the server's distance": (asked(forged("PA", DENY, ttl=50), *rival()), [5]),
    "HTML without a head, and a reset": (
        asked(forged("FA", BARE), forged("R", ttl=40, ms=0.2), client("FA"), *rival()),
        [5, 6],
    ),
    "its reset overtakes it": (
        asked(forged("RPA", seq=1 + len(DENY)), forged("PA", DENY, ms=0.1), client("FA"), *rival()),
        [5, 6],
    ),
    "the server counts on": (asked(forged("PA", DENY), server("A", ms=75, seq=1)), [5]),
    "the server was faster": (asked(server("PA", GOOD), forged("PA", DENY, seq=1), client("A")), [6]),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_pages_are_found(case: str) -> None:
    """Confirmed, with the forged packets and no others, and before the reset that belongs to the page."""
    records, frames = FORGED[case]
    (one,) = found(records)
    assert one.mechanism == "blockpage" and one.verdict == "confirmed"
    assert one.injected_frames == frames


def test_a_page_in_place_of_the_answer_needs_the_control() -> None:
    """Nothing of the server follows: its distance to other names and the text speak."""
    page = asked(forged("FPA", KNOWN), client("FA"))
    (one,) = found(page, *(answered(n, f"{n}.example") for n in range(1, 4)))
    assert one.mechanism == "blockpage" and one.verdict == "likely"
    assert {"page_known", "page_ttl", "others_answered_from_there"} <= ids(one)


def test_only_the_servers_side_was_captured() -> None:
    """Two answers contradict each other without the request, too."""
    records = asked(forged("PA", DENY), *rival())
    (one,) = found([records[n] for n in (1, 4, 5)])
    assert one.mechanism == "blockpage" and one.injected_frames == [2] and "one_direction" in one.limits


def portal(number: int, name: str) -> list[Record]:
    return asked(server("PA", DENY, ms=10, ttl=60), client("FA"), server("FA", ms=1), name=name, number=number)


def front(number: int, name: str, page: bytes = MOVED) -> list[Record]:
    """A SYN proxy answers for a server behind it, which is nearer and drops timestamps."""
    return asked(server("PA", page, ttl=60, options=b""), client("FA"), name=name, number=number)


def damaged(text: bytes) -> bytes:
    return text[:20] + bytes((text[20] ^ 1,)) + text[21:]


INNOCENT = {
    "a refusal by the site": [asked(server("PA", b"HTTP/1.1 403 Forbidden\r\n\r\n<html><title>No</title>"))],
    "unavailable for legal reasons": [asked(server("PA", b"HTTP/1.1 451 Unavailable\r\n\r\n<html>"))],
    "a redirect to HTTPS": [asked(server("PA", b"HTTP/1.1 301 Moved\r\nLocation: https://a.example/\r\n\r\n"))],
    "a redirect to the owner's other site": [asked(server("PA", MOVED), name=f"{n}.c.example") for n in range(1)],
    "a small server that closes at once": [asked(server("FPA", GOOD), client("FA"))],
    "an old server without heads": [asked(server("FPA", BARE), client("FA"))],
    "the answer again": [asked(server("PA", GOOD), server("PA", GOOD, seq=1, ms=300))],
    "the answer again in smaller segments": [
        asked(server("PA", GOOD), server("PA", GOOD[:40], seq=1, ms=300), server("PA", GOOD[40:], seq=41, ms=1))
    ],
    "the answer again, damaged once": [asked(server("PA", damaged(GOOD)), server("PA", GOOD, seq=1, ms=300))],
    "an acknowledgement that was overtaken": [asked(server("PA", GOOD), server("A", seq=1, ms=2))],
    "a front end before every site": [front(n, f"{n}.example") for n in range(4)],
    "a front end before one site": [front(0, "a.example")],
    "a captive portal": [portal(n, f"{n}.example") for n in range(5)],
    "a cache near the client": [asked(server("PA", GOOD, ms=5)), answered(1, "a.example")],
    "one slow handshake": [asked(server("PA", GOOD, ms=10))],
    "a balancer of another initial TTL": [asked(server("PA", MOVED, ttl=114))],
    "a path that changed": [asked(server("PA", DENY, ttl=52))],
}


@pytest.mark.parametrize("case", INNOCENT)
def test_innocent_answers_accuse_nobody(case: str) -> None:
    """What looks just like it, and must not be taken for it."""
    assert [one for one in found(*INNOCENT[case]) if one.verdict != "insufficient"] == []


def test_a_page_that_everybody_gets_is_not_decided() -> None:
    """A portal's page by its text: it cannot be told from a filter's while nothing else gets through."""

    def page(number: int, name: str) -> list[Record]:
        return asked(forged("FPA", KNOWN), client("FA"), name=name, number=number)

    findings = found(*(page(n, f"{n}.example") for n in range(4)))
    assert all(one.verdict == "insufficient" and "working_access" in one.missing for one in findings)


def test_families_name_texts_in_lower_case() -> None:
    """What is compared is brought to lower case, so a family's text must be."""
    families = KnownPages()._families
    assert len(families) >= 15
    for id, _, texts in families:
        assert texts and all(text == text.lower() and len(text) >= 7 for _, text in texts), id
