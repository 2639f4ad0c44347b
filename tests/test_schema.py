"""Every record that can be built fits its schema, with the schema's keys in the schema's order."""

from __future__ import annotations

import datetime
from typing import Any

import jsonschema
import pytest

from records import check, finding, flow_record, schema
from tamperscope.model import Finding, FlowRecord, Notice, Summary, iso_time, name_text

KINDS = ("finding", "flow", "notice", "summary")


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_closed_and_names_every_key(kind: str) -> None:
    """A key that is not in the schema is refused, and none but `lossy` may be left out."""
    shape = schema(kind)
    jsonschema.Draft202012Validator.check_schema(shape)
    assert shape["additionalProperties"] is False
    assert [key for key in shape["properties"] if key != "lossy"] == shape["required"]
    assert list(shape["properties"])[:2] == ["type", "schema"]


@pytest.mark.parametrize(("kind", "model"), zip(KINDS, (Finding, FlowRecord, Notice, Summary), strict=True))
def test_attributes_are_the_keys(kind: str, model: type[Any]) -> None:
    """Attributes carry the names and the order of the JSON keys; `time` is computed from `time_ns`."""
    keys = [key for key in schema(kind)["properties"] if key not in ("type", "schema", "lossy", "time")]
    assert keys == list(model.__slots__)


def test_records_fit_their_schemas() -> None:
    check(finding().to_dict())
    check(flow_record().to_dict())
    check(Notice("error", "truncated_record", "cut", capture="a", offset=1, frame=2, need=3, have=4).to_dict())
    check(Notice("info", "rotation", "files follow each other").to_dict())
    check(Summary("a.pcap", version="0.1", rules="1").to_dict())


def test_least_finding_fits() -> None:
    """Everything unknown is null or empty, and that is a valid finding."""
    check(
        finding(
            verdict="insufficient", confidence=None, proof=None, time_ns=None, name=None, name_from=None,
            name_is_outer=None, trigger_frame=None, injected_frames=[], genuine_frames=[], rtt_ms=None, injector=None,
            evidence=[], missing=["control"],
        ).to_dict()
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"mechanism": "blocking"},
        {"verdict": "certain"},
        {"proof": "guess"},
        {"verdict": "insufficient"},  # with a confidence
        {"confidence": None},
        {"verdict": "confirmed", "confidence": 0.95},
        {"verdict": "likely", "confidence": 0.8},
        {"verdict": "confirmed", "evidence": []},
        {"injected_frames": [0]},
        {"genuine_frames": list(range(1, 34))},
        {"vantage": None},
        {"name_from": "sni"},
        {"sequence": "cf-20"},
        {"community_id": "1:short"},
    ],
)
def test_schema_refuses(changes: dict[str, Any]) -> None:
    """Closed enumerations, and the rules that bind verdict and confidence, are in the schema itself."""
    with pytest.raises(jsonschema.ValidationError):
        check(finding(**changes).to_dict())


def test_defaults_are_not_shared() -> None:
    """Lists of one record never appear in another."""
    first, second = finding(injected_frames=None), finding(injected_frames=None)
    first.injected_frames.append(1)
    first.limits.append("x")
    assert second.injected_frames == [] and second.limits == []
    one, other = Summary("a", version="1", rules="1"), Summary("b", version="1", rules="1")
    one.findings["ip_block"] = {"likely": 1}
    assert other.findings == {}


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1705759331482911000, "2024-01-20T14:02:11.482911000Z"),
        (951782400_000000001, "2000-02-29T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (-(2**63), "1677-09-21T00:12:43.145224192Z"),
    ],
)
def test_iso_time(time_ns: int | None, text: str | None) -> None:
    assert iso_time(time_ns) == text


def test_iso_time_agrees_with_datetime() -> None:
    """Every month border and leap day of four centuries."""
    start = datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    for day in range(0, 146_097, 7):
        for moment in (start + datetime.timedelta(days=day, seconds=86_399), start + datetime.timedelta(days=day)):
            if not 1678 < moment.year < 2262:
                continue
            seconds = (moment - epoch) // datetime.timedelta(seconds=1)
            assert iso_time(seconds * 10**9 + 7) == moment.strftime("%Y-%m-%dT%H:%M:%S.000000007Z")


@pytest.mark.parametrize(
    ("name", "text", "lossy"),
    [
        (None, None, False),
        (b"", "", False),
        (b"x.example", "x.example", False),
        (b"a\\.b.example", "a\\.b.example", False),
        (b"\x1b]0;own\x07", "\\x1b]0;own\\x07", True),
        (b"\x7f\x80\xff", "\\x7f\\x80\\xff", True),
        ("b\u00fccher\u202e".encode(), "b\\u{fc}cher\\u{202e}", True),
        (b"\xed\xb2\x80", "\\xed\\xb2\\x80", True),
        (b"a" * 255, "a" * 255, False),
        (b"a" * 300, "a" * 255 + "...(+45)", True),
    ],
)
def test_name_text(name: bytes | None, text: str | None, lossy: bool) -> None:
    assert name_text(name) == (text, lossy)


def test_lossy_name_is_flagged() -> None:
    """The flag stands beside an escaped name and is absent otherwise; names stay bytes inside."""
    odd = finding(name=b"\xff.example")
    record = odd.to_dict()
    check(record)
    assert odd.name == b"\xff.example" and record["name"] == "\\xff.example" and record["lossy"] is True
    assert "lossy" not in finding().to_dict()
    check(flow_record(name=b"\n").to_dict())
