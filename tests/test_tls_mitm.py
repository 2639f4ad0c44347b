"""Exchanged certificates and other answers to a ClientHello, and what looks just like them."""

from __future__ import annotations

from typing import Any

import pytest

from connections import client, connection, forged, found, ids, server
from hostile import build
from hostile.build import Record

BOX, OWN, PUBLIC = ("Box CA", "Box"), ("Inner CA", "Owner"), ("R11", "Let's Encrypt")
ALERT = b"\x15\3\3\0\2\2\x70"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\n\r\n<html>No</html>"


def flight(name: str, issuer: tuple[str, str] = PUBLIC, subject: str | None = None) -> bytes:
    return build.tls_records(build.server_hello() + build.certificate(subject or name, issuer, (subject or name,)))


def hello(*answers: Any, name: str = "a.example", **where: Any) -> list[Record]:
    asked = client("PA", build.tls_records(build.client_hello(name)))
    return connection(asked, *answers, **{"port": 443, **where})


def shows(number: int, name: str, issuer: tuple[str, str], subject: str | None = None, **where: Any) -> list[Record]:
    """A handshake in which a certificate is shown."""
    return hello(server("PA", flight(name, issuer, subject)), name=name, number=number, **where)


def sequence(*steps: tuple[str, tuple[str, str]]) -> list[list[Record]]:
    return [shows(n, name, issuer) for n, (name, issuer) in enumerate(steps)]


def test_names_of_several_owners_under_one_strange_issuer() -> None:
    """Each exchanged handshake is confirmed, the others are left alone, and that it may be local is said."""
    names = [("a.example", BOX), ("a.example", PUBLIC), ("b.invalid", PUBLIC), ("b.invalid", BOX), ("a.example", BOX)]
    findings = found(*sequence(*names))
    assert [(one.name, one.verdict) for one in findings] == [
        (b"a.example", "confirmed"), (b"b.invalid", "confirmed"), (b"a.example", "confirmed"),
    ]  # fmt: skip
    assert all(one.mechanism == "tls_mitm" and len(one.injected_frames) == 1 for one in findings)
    assert all("may_be_local" in one.limits for one in findings)


def test_of_two_private_issuers_the_one_without_names_of_its_own() -> None:
    """A laboratory's authority has names that nobody contests; the box has none."""
    steps = [("a.example", BOX), ("a.example", OWN), ("b.invalid", OWN), ("b.invalid", BOX), ("c.test", OWN)]
    assert {one.name for one in found(*sequence(*steps))} == {b"a.example", b"b.invalid"}
    assert len(found(*sequence(*steps))) == 2
    assert found(*sequence(*steps[:4])) == []


def test_names_that_are_only_seen_exchanged() -> None:
    """Who exchanges the certificates of some names is not believed for others."""
    contested = [("a.example", BOX), ("a.example", PUBLIC), ("b.invalid", PUBLIC), ("b.invalid", BOX)]
    last = found(*sequence(*contested, ("c.test", BOX)))[-1]
    assert last.name == b"c.test" and "issuer_of_contested_names" in ids(last)


FORGED = {
    "an alert, and the handshake after it": [forged("PA", ALERT), server("PA", flight("a.example"), ms=75, seq=1)],
    "a page, and the handshake after it": [forged("FPA", REFUSAL), server("PA", flight("a.example"), ms=75, seq=1)],
    "the server counts on": [forged("PA", ALERT), forged("R", seq=8, ms=0.1), server("A", ms=75, seq=1)],
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_answers_to_a_hello(case: str) -> None:
    """As for pages: two answers for one place in the stream."""
    (one,) = found(hello(*FORGED[case]))
    assert (one.mechanism, one.verdict) == ("tls_mitm", "confirmed") and one.injected_frames[0] == 5
    assert len(one.injected_frames) == (2 if "counts" in case else 1)


def test_a_page_in_place_of_a_handshake_needs_the_control() -> None:
    """The port speaks TLS to others."""
    page = hello(forged("FPA", REFUSAL), client("FA"))
    assert [one for one in found(page) if one.verdict != "insufficient"] == []
    (one,) = found(page, *(shows(n, f"{n}.example", PUBLIC) for n in range(1, 3)))
    assert one.mechanism == "tls_mitm" and one.verdict == "likely" and "plain_for_tls" in ids(one)


INNOCENT = {
    "a public authority": sequence(("a.example", PUBLIC)),
    "several public authorities": sequence(*(("a.example", issuer) for issuer in (PUBLIC, ("G2", "DigiCert Inc")) * 2)),
    "a device with its own certificate": sequence(("a.example", ("a.example", ""))),
    "a laboratory": sequence(*((f"a.{owner}", OWN) for owner in ("example", "invalid", "test", "example"))),
    "a firm's names inside and outside": sequence(
        *((f"{n}.a.example", issuer) for n in range(3) for issuer in (OWN, PUBLIC, OWN))
    ),
    "a new authority": sequence(
        *((f"a.{owner}", issuer) for issuer in (OWN, PUBLIC) for owner in ("example", "invalid", "test"))
    ),
    "back to a private authority": sequence(
        *((f"a.{owner}", issuer) for issuer in (PUBLIC, OWN) for owner in ("example", "invalid", "test"))
    ),
    "one of several machines with a default certificate": [
        shows(n, f"{n % 3}.example", (OWN, PUBLIC)[n // 3 % 2], ("host.invalid", None)[n // 3 % 2]) for n in range(12)
    ],
    "a refusal by alert": [hello(server("PA", ALERT), client("FA"))],
    "a port that speaks plain HTTP": [
        hello(server("FPA", b"HTTP/1.1 400 Bad Request\r\n\r\n"), client("FA"), number=n) for n in range(3)
    ],
    "a front end's plain refusal": [
        hello(server("FPA", REFUSAL), client("FA")), *(shows(n, f"{n}.example", PUBLIC) for n in range(1, 3))
    ],
    "the flight again": [hello(server("PA", flight("a.example")), server("PA", flight("a.example"), seq=1, ms=300))],
}  # fmt: skip


@pytest.mark.parametrize("case", INNOCENT)
def test_innocent_handshakes_accuse_nobody(case: str) -> None:
    """What looks just like it, and must not be taken for it."""
    assert [one for one in found(*INNOCENT[case]) if one.verdict != "insufficient"] == []


def test_products_accuse_nobody_by_their_name() -> None:
    """A known issuer is attribution: alone it says nothing about the network."""
    assert found(*sequence(("a.example", ("Zscaler Intermediate CA", "Zscaler Inc.")))) == []
