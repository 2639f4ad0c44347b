"""Events, assessments and cells as records, and the answer that holds them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from answers import answer, assessment, cells, event
from records import check, schema
from tamperscope.answer import CAUSES, Assessment, Cells, Event

MODELS: dict[str, type[Any]] = {"event": Event, "assessment": Assessment, "cells": Cells}


@pytest.mark.parametrize("kind", MODELS)
def test_attributes_are_the_keys(kind: str) -> None:
    """Attributes carry the names and the order of the JSON keys; the schema is closed and has all of them."""
    shape = schema(kind)
    jsonschema.Draft202012Validator.check_schema(shape)
    assert shape["additionalProperties"] is False and list(shape["properties"]) == shape["required"]
    assert list(shape["properties"])[2:] == [key.rstrip("_") for key in MODELS[kind].__slots__]


def test_records_fit_their_schemas() -> None:
    check(event().to_dict())
    check(assessment().to_dict())
    check(cells().to_dict())


def test_least_records_fit() -> None:
    """Onset before the capture, nothing known of controls: null or empty."""
    check(Event(id="0" * 16, target="x", network="a").to_dict())
    least = Assessment(
        id="0" * 16, events=["0" * 16], targets=["x"], networks=["a"], cause="insufficient", statement="Not enough."
    )
    check(least.to_dict())


@pytest.mark.parametrize(
    "record",
    [
        event(kind="outage").to_dict(),
        event(controls={"nobody": event().controls["same_server"]}).to_dict(),
        event(mechanisms={"blocking": 1}).to_dict(),
        event(findings=["x"] * 33).to_dict(),
        assessment(cause="deliberate").to_dict(),
        assessment(scope="country").to_dict(),
        assessment(statement="").to_dict(),
        assessment(events=[]).to_dict(),
        assessment(scores={"censorship": 1.0}).to_dict(),
    ],
)
def test_schema_refuses(record: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(record)


def test_causes_are_those_of_the_schema() -> None:
    shape = schema("assessment")
    assert tuple(shape["$defs"]["cause"]["enum"]) == CAUSES
    assert shape["properties"]["cause"]["enum"] == [*CAUSES, "inconclusive", "insufficient"]


def test_answer_is_one_object() -> None:
    """All of it goes through JSON, and its parts are the records of their own."""
    whole = answer()
    record = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert list(record)[:3] == ["type", "schema", "statements"]
    assert record["events"] == [json.loads(json.dumps(event().to_dict()))]
    assert {"targets", "networks", "cells", "assessments", "groups", "summaries", "limits"} <= set(record)


def test_defaults_are_not_shared() -> None:
    first, second = (Event(id="0" * 16, target="x", network="a") for _ in range(2))
    first.seen["first_failed"] = 1
    first.limits.append("x")
    assert second.seen["first_failed"] is None and second.limits == []
