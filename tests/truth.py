"""
Findings against what is known of a capture: an index beside it (JSON; pcaps/README.md describes the form).

Outcomes, flow by flow: found, accepted (a verdict that the index allows), unsure (only `insufficient`), other, missed,
quiet, murmur (`insufficient` about an innocent flow), false (an innocent flow accused), overclaim (one accused that
cannot be decided).
"""

from __future__ import annotations

import collections
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from tamperscope.model import Finding
from tamperscope.scan import scan

Ends = tuple[str, frozenset[str]]


class Outcome:
    """What became of one flow of the index, or of one accused flow that it does not list."""

    def __init__(self, capture: str, flow: dict[str, Any], outcome: str, found: list[Finding], counts: bool) -> None:
        self.capture = capture
        self.expected: str = flow["expected"]
        self.flow = flow
        self.outcome = outcome
        self.found = found
        self.counts = counts  # of a quality that has to be found

    @property
    def key(self) -> tuple[str, str]:
        """Capture, and the end of the flow that tells it from others: its client's."""
        return self.capture, self.flow["client"]

    @property
    def frames(self) -> tuple[set[int], set[int]]:
        """Injected frames as named and as known; what the index leaves open is in neither."""
        named = {frame for one in self.found if one.mechanism == self.expected for frame in one.injected_frames}
        return named - set(self.flow.get("injected_also") or []), set(self.flow["injected_frames"])

    def __str__(self) -> str:
        said = ", ".join(f"{one.mechanism} {one.verdict}" for one in self.found) or "nothing"
        flow = f"{self.flow['client']} {self.flow['server']} {self.flow.get('name') or ''}"
        return f"{self.capture}: {flow}: {self.outcome}: expected {self.expected}, said {said}"


def judge(index: pathlib.Path, quality: str = "AB") -> list[Outcome]:
    """Scan the capture of an index and hold the findings against it."""
    truth = json.loads(index.read_text())
    by_ends: dict[Ends, list[Finding]] = collections.defaultdict(list)
    for found in scan(index.parent / truth["file"]):
        assert isinstance(found, Finding)
        by_ends[
            _ends(found.proto, _end(found.client, found.client_port), _end(found.server, found.server_port))
        ].append(found)
    shared = collections.Counter(_listed(flow) for flow in truth["flows"])
    out = []
    for flow in truth["flows"]:
        there = [one for one in by_ends[_listed(flow)] if shared[_listed(flow)] == 1 or _same(one, flow)]
        counts = (flow.get("quality") or truth["quality"]) in quality
        out.append(Outcome(truth["file"], flow, _outcome(flow, there), there, counts))
    if truth["class"] == "innocent" or truth["other_flows"] == "innocent":
        out.extend(_unlisted(truth["file"], by_ends, shared))
    return out


def _unlisted(capture: str, by_ends: dict[Ends, list[Finding]], listed: collections.Counter[Ends]) -> Iterator[Outcome]:
    for ends, there in by_ends.items():
        accusing = [one for one in there if one.confidence is not None]
        if ends not in listed and accusing:
            one = accusing[0]
            flow = {
                "client": _end(one.client, one.client_port), "server": _end(one.server, one.server_port),
                "expected": "none", "injected_frames": [],
            }  # fmt: skip
            yield Outcome(capture, flow, "false", accusing, True)


def _outcome(flow: dict[str, Any], there: list[Finding]) -> str:
    accusing = {one.mechanism for one in there if one.verdict != "insufficient"}
    accepted, expected = set(flow.get("accept") or []), flow["expected"]
    if expected in ("none", "insufficient"):
        if accusing - accepted:
            return "false" if expected == "none" else "overclaim"
        return "murmur" if there and expected == "none" else "quiet"
    if expected in accusing:
        return "other" if accusing - accepted - {expected} else "found"
    if accusing & accepted or (not accusing and ("none" in accepted or (there and "insufficient" in accepted))):
        return "accepted"
    if accusing:
        return "other"
    return "unsure" if any(one.mechanism == expected for one in there) else "missed"


def _same(found: Finding, flow: dict[str, Any]) -> bool:
    """Ports used again give several flows the same ends: frames tell them apart."""
    theirs, ours = {*found.injected_frames, found.trigger_frame}, {*flow["injected_frames"], flow["trigger_frame"]}
    return bool((theirs & ours) - {None}) or theirs == {None} or ours == {None}


def _listed(flow: dict[str, Any]) -> Ends:
    return _ends(flow["proto"], *(_end(*_split(flow[end])) for end in ("client", "server")))


def _split(end: str) -> tuple[str, int]:
    host, _, port = end.rpartition(":")
    return host.strip("[]"), int(port)


def _ends(proto: str, *ends: str) -> Ends:
    return proto.lower(), frozenset(ends)


def _end(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
