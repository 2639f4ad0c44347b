"""Records for tests, and the check that each holds to its schema."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema

from tamperscope.model import Evidence, Finding, FlowRecord


def schema(kind: str) -> dict[str, Any]:
    text = (resources.files("tamperscope") / "schema" / f"{kind}.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def check(record: dict[str, Any]) -> None:
    shape = schema(record["type"])
    jsonschema.Draft202012Validator(shape).validate(json.loads(json.dumps(record, allow_nan=False)))
    assert [key for key in shape["properties"] if key in record] == list(record)


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "id": "0123456789abcdef",
        "capture": "evening.pcapng",
        "flow": 17,
        "mechanism": "rst_injection",
        "verdict": "confirmed",
        "confidence": 0.9994,
        "proof": "contradiction",
        "time_ns": 1705759331482911000,
        "proto": "tcp",
        "client": "10.20.0.7",
        "client_port": 51544,
        "server": "192.0.2.44",
        "server_port": 443,
        "name": b"x.example",
        "name_from": "tls_sni",
        "name_is_outer": False,
        "trigger_frame": 1204,
        "injected_frames": [1205, 1206],
        "genuine_frames": [1209],
        "rtt_ms": 92.1,
        "vantage": "client",
        "injector": {"hops_min": 3, "hops_max": 4, "family": [{"id": "gfw.type2", "score": 0.8}]},
        "evidence": [Evidence("data_after_reset", "stream", 3.1, [1209], "the server went on sending after its reset")],
    }
    values.update(changes)
    return Finding(**values)


def flow_record(**changes: Any) -> FlowRecord:
    values: dict[str, Any] = {
        "capture": "evening.pcapng",
        "flow": 17,
        "time_ns": 1705759331000000001,
        "end_ns": 1705759332000000000,
        "first_frame": 1200,
        "last_frame": 1210,
        "proto": "tcp",
        "client": "10.20.0.7",
        "client_port": 51544,
        "server": "192.0.2.44",
        "server_port": 443,
        "client_by": "syn",
        "name": b"x.example",
        "name_from": "tls_sni",
        "name_is_outer": False,
        "outcome": "reset",
        "stage": "after_name",
        "conn_state": "RSTR",
        "history": "ShADr",
        "final_by": "closed",
        "marks": ("reset_after_data",),
    }
    values.update(changes)
    return FlowRecord(**values)
