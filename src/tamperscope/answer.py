"""
What the last stages hand on: cells over time, events, assessments, and the `Answer` that holds all of it.

Plain classes with slots, as in `tamperscope.model`: attributes are the keys of the JSON objects (``schema/*.json``), in
their order.  Times are int64 nanoseconds since 1970 UTC inside and text in JSON.  Unknown is None, never 0.
"""

# Slots stand in the order of the JSON keys.
from __future__ import annotations

from tamperscope.model import SCHEMA, iso_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tamperscope.model import Finding, Summary

MINUTE = 60 * 1_000_000_000  # nanoseconds
POINTS = ("dns", "connect", "name", "transfer", "attempt")
KINDS = ("failure", "degradation", "volume")
CAUSES = (
    "targeted_interference", "platform_outage", "transport_fault", "resolver_fault", "blanket_shutdown",
    "local_artefact",
)  # fmt: skip
VERDICTS = (*CAUSES, "inconclusive", "insufficient")
SCOPES = ("site", "network", "several_networks", "place")
CONTROLS = ("same_server", "same_operator", "foreign", "domestic", "same_hour")
OTHER = "other"  # the target of every name that is no platform of the table


class Moment:
    """
    When something began or ended: ``at`` is the best estimate, ``start`` to ``stop`` holds it with probability `level`.

    ``start`` is None where it may lie before the capture, ``stop`` where it may lie after it.  Nanoseconds.
    """

    __slots__ = ("at", "start", "stop", "level")

    def __init__(self, at: int, start: int | None, stop: int | None, level: float = 0.95) -> None:
        self.at = at
        self.start = start
        self.stop = stop
        self.level = level

    def to_dict(self) -> dict[str, Any]:
        """{"at", "from", "to", "level"}, times as text."""
        return {"at": iso_time(self.at), "from": iso_time(self.start), "to": iso_time(self.stop), "level": self.level}

    def __repr__(self) -> str:
        return f"Moment({iso_time(self.at)}, {iso_time(self.start)} to {iso_time(self.stop)})"


class Tally:
    """
    Votes of some traffic inside an event and outside of it: one vote per (client, target, minute).

    ``failed`` of ``votes`` inside, ``failed_before`` of ``votes_before`` in the rest of the same stretch of capture.
    """

    __slots__ = ("votes", "failed", "votes_before", "failed_before", "clients")

    def __init__(
        self, votes: int = 0, failed: int = 0, votes_before: int = 0, failed_before: int = 0, clients: int = 0
    ) -> None:
        self.votes = votes
        self.failed = failed
        self.votes_before = votes_before
        self.failed_before = failed_before
        self.clients = clients

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__}

    def __repr__(self) -> str:
        return f"Tally({self.failed} of {self.votes}, before {self.failed_before} of {self.votes_before})"


class Cells:
    """
    One series over time: a network, a target and a point of the way to it, minute by minute.

    Columns, lists of int, all of one length: ``minute`` counts minutes since 1970 UTC, ascending, only those in which
    something was seen; attempts by what became of them at this point (``ok``, of these ``degraded``, ``down``,
    ``unknown``, and ``interfered`` by mechanism); ``reached`` is ok + down + interfered, the denominator; ``votes``
    and ``failed`` of the votes; ``clients`` are distinct.  A minute that is missing was not seen: draw it hatched,
    never as 0 failed.
    """

    __slots__ = (
        "network", "target", "point", "minute", "reached", "ok", "degraded", "down", "unknown", "interfered", "votes",
        "failed", "clients",
    )  # fmt: skip

    def __init__(self, network: str, target: str, point: str) -> None:
        self.network = network
        self.target = target
        self.point = point
        self.minute: list[int] = []
        self.reached: list[int] = []
        self.ok: list[int] = []
        self.degraded: list[int] = []
        self.down: list[int] = []
        self.unknown: list[int] = []
        self.interfered: dict[str, list[int]] = {}
        self.votes: list[int] = []
        self.failed: list[int] = []
        self.clients: list[int] = []

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema."""
        record: dict[str, Any] = {"type": "cells", "schema": SCHEMA}
        record.update((key, getattr(self, key)) for key in self.__slots__)
        return record

    def __repr__(self) -> str:
        return f"Cells({self.network!r}, {self.target!r}, {self.point!r}, {len(self.minute)} minutes)"


class Event:
    """
    One target on one network, from an onset to an end.

    ``kind``: ``failure`` (attempts fail), ``degradation`` (they are reached, but not at once: ``failed`` counts
    those) or ``volume`` (they cease); the target of a collapse of everything is "*". ``onset`` and ``end`` are None
    where they lie before or after the capture.  ``points``: {point: {"reached", "ok", "degraded" (of these), "down",
    "unknown", "interfered": {mechanism: attempts}}} between both.  ``votes``, ``failed``, ``clients`` (distinct, that
    voted), ``failed_clients`` inside; ``votes_before``, ``failed_before`` in the rest of the same stretch.
    ``mechanisms``: {mechanism: attempts}.  ``controls``: {class of `CONTROLS`: Tally}; an absent class was not seen.
    ``log10_bayes``: for a change against none.  ``seen``: the hard brackets, {"last_ok_before", "first_failed",
    "last_failed", "first_ok_after"}: ns or None.  ``findings``: at most 32 ids, ``findings_total`` their number.
    """

    __slots__ = (
        "id", "target", "network", "kind", "onset", "end", "points", "mechanisms", "votes", "failed", "votes_before",
        "failed_before", "clients", "failed_clients", "unknown_share", "controls", "log10_bayes", "seen", "findings",
        "findings_total", "limits",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: str,
        target: str,
        network: str,
        kind: str = "failure",
        onset: Moment | None = None,
        end: Moment | None = None,
        points: dict[str, dict[str, Any]] | None = None,
        mechanisms: dict[str, int] | None = None,
        votes: int = 0,
        failed: int = 0,
        votes_before: int = 0,
        failed_before: int = 0,
        clients: int = 0,
        failed_clients: int = 0,
        unknown_share: float | None = None,
        controls: dict[str, Tally] | None = None,
        log10_bayes: float | None = None,
        seen: dict[str, int | None] | None = None,
        findings: list[str] | None = None,
        findings_total: int = 0,
        limits: list[str] | None = None,
    ) -> None:
        self.id = id
        self.target = target
        self.network = network
        self.kind = kind
        self.onset = onset
        self.end = end
        self.points = points or {}
        self.mechanisms = mechanisms or {}
        self.votes = votes
        self.failed = failed
        self.votes_before = votes_before
        self.failed_before = failed_before
        self.clients = clients
        self.failed_clients = failed_clients
        self.unknown_share = unknown_share
        self.controls = controls or {}
        self.log10_bayes = log10_bayes
        self.seen = seen or dict.fromkeys(("last_ok_before", "first_failed", "last_failed", "first_ok_after"))
        self.findings = findings or []
        self.findings_total = findings_total
        self.limits = limits or []

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema."""
        record: dict[str, Any] = {"type": "event", "schema": SCHEMA}
        record.update((key, getattr(self, key)) for key in self.__slots__)
        record["onset"] = self.onset and self.onset.to_dict()
        record["end"] = self.end and self.end.to_dict()
        record["controls"] = {kind: tally.to_dict() for kind, tally in self.controls.items()}
        record["seen"] = {key: iso_time(at) for key, at in self.seen.items()}
        return record

    def __repr__(self) -> str:
        return f"Event({self.target!r}, {self.network!r}, {self.failed} of {self.votes}, {self.onset} {self.end})"


class Feature:
    """
    One fact about an assessment and what it speaks for.

    ``id`` as in ``data/causes.toml``; ``group``: facts of one cause, which together count only so much; ``value``
    with its bounds ``low`` and ``high`` (None where it has none) out of ``n`` votes or whatever the text says;
    ``shift``: {cause: change of its log odds, natural logarithm, after capping}; empty where the fact was not used.
    """

    __slots__ = ("id", "group", "value", "low", "high", "n", "shift", "text")

    def __init__(
        self,
        id: str,
        group: str,
        value: float | None,
        text: str,
        *,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
        shift: dict[str, float] | None = None,
    ) -> None:
        self.id = id
        self.group = group
        self.value = value
        self.low = low
        self.high = high
        self.n = n
        self.shift = shift or {}
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__}

    def __repr__(self) -> str:
        return f"Feature({self.id!r}, {self.value}, {self.shift})"


class Assessment:
    """
    Events that overlap in time, taken together: cause and scope.

    ``events``: ids; ``onset``, ``end``: of all of them (None as in Event); ``cause``: one of `VERDICTS`; ``score``:
    its probability, None where it is inconclusive or insufficient; ``scores``: {cause of `CAUSES`: probability},
    summing to 1, best first; ``scope``: one of `SCOPES`, or None without a cause.  ``features``: all that was looked
    at; ``for_`` (in JSON: for) and ``against``: ids of those that moved the best cause most, strongest first.
    ``gates``: [{"id", "passed" (None: could not be asked), "text"}], all of which targeted interference needs.
    ``changes``: sentences, what would change the verdict.  ``mechanisms``: {network: {mechanism: attempts}}.
    ``recurrence``: dates ("2023-12-17") of other assessments of the same targets at that hour; ``calendar``:
    {"events", "met", "chance"} or None.  ``statement``: the sentence for people, which never says who ordered
    anything.
    """

    __slots__ = (
        "id", "events", "targets", "networks", "onset", "end", "cause", "score", "scope", "scores", "features", "for_",
        "against", "gates", "changes", "controls", "mechanisms", "votes", "failed", "clients", "recurrence", "calendar",
        "statement",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: str,
        events: list[str],
        targets: list[str],
        networks: list[str],
        cause: str,
        statement: str,
        onset: Moment | None = None,
        end: Moment | None = None,
        score: float | None = None,
        scope: str | None = None,
        scores: dict[str, float] | None = None,
        features: list[Feature] | None = None,
        for_: list[str] | None = None,
        against: list[str] | None = None,
        gates: list[dict[str, Any]] | None = None,
        changes: list[str] | None = None,
        controls: dict[str, Tally] | None = None,
        mechanisms: dict[str, dict[str, int]] | None = None,
        votes: int = 0,
        failed: int = 0,
        clients: int = 0,
        recurrence: list[str] | None = None,
        calendar: dict[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.events = events
        self.targets = targets
        self.networks = networks
        self.onset = onset
        self.end = end
        self.cause = cause
        self.score = score
        self.scope = scope
        self.scores = scores or {}
        self.features = features or []
        self.for_ = for_ or []
        self.against = against or []
        self.gates = gates or []
        self.changes = changes or []
        self.controls = controls or {}
        self.mechanisms = mechanisms or {}
        self.votes = votes
        self.failed = failed
        self.clients = clients
        self.recurrence = recurrence or []
        self.calendar = calendar
        self.statement = statement

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, keys in the order of the schema."""
        record: dict[str, Any] = {"type": "assessment", "schema": SCHEMA}
        record.update((key.rstrip("_"), getattr(self, key)) for key in self.__slots__)
        record["onset"] = self.onset and self.onset.to_dict()
        record["end"] = self.end and self.end.to_dict()
        record["features"] = [one.to_dict() for one in self.features]
        record["controls"] = {kind: tally.to_dict() for kind, tally in self.controls.items()}
        return record

    def __repr__(self) -> str:
        return f"Assessment({self.cause!r}, {self.score}, {self.targets}, {self.networks})"


class Network:
    """
    Where clients were: ``name`` is the key in cells and events; ``by``: ``label`` (given), ``file`` (the capture's
    name), ``table`` or ``database`` (AS number of the client's address).  ``captures``: names of files; ``clients``:
    distinct; ``vantage``: as in a summary; ``minutes``: in which anything was captured; ``gaps``: [(from, to)] in ns,
    in which nothing at all was, though it was to be expected: silence of the network or of the capture, which cannot
    be told.
    """

    __slots__ = ("name", "by", "captures", "clients", "vantage", "first_ns", "last_ns", "minutes", "gaps")

    def __init__(
        self,
        name: str,
        by: str = "file",
        captures: list[str] | None = None,
        clients: int = 0,
        vantage: str = "unknown",
        first_ns: int | None = None,
        last_ns: int | None = None,
        minutes: int = 0,
        gaps: list[tuple[int, int]] | None = None,
    ) -> None:
        self.name = name
        self.by = by
        self.captures = captures or []
        self.clients = clients
        self.vantage = vantage
        self.first_ns = first_ns
        self.last_ns = last_ns
        self.minutes = minutes
        self.gaps = gaps or []

    def to_dict(self) -> dict[str, Any]:
        record = {key: getattr(self, key) for key in self.__slots__}
        record["first"], record["last"] = iso_time(record.pop("first_ns")), iso_time(record.pop("last_ns"))
        record["gaps"] = [{"from": iso_time(start), "to": iso_time(stop)} for start, stop in self.gaps]
        return record

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {self.clients} clients)"


class Target:
    """
    A platform: ``id`` is the key in cells and events, ``title`` its name, ``operator`` who runs it, ``kind`` what it
    is.
    """

    __slots__ = ("id", "title", "operator", "kind")

    def __init__(self, id: str, title: str, operator: str, kind: str) -> None:
        self.id = id
        self.title = title
        self.operator = operator
        self.kind = kind

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__}

    def __repr__(self) -> str:
        return f"Target({self.id!r})"


class Group:
    """
    Findings of one mechanism: ``counts`` by verdict, over all; ``by_target``: {(network, target): findings confirmed or
    likely}; ``strongest``: at most 32 `Finding`, for a report to show; all of them are in JSON Lines only.
    """

    __slots__ = ("mechanism", "counts", "by_target", "strongest")

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism
        self.counts: dict[str, int] = {}
        self.by_target: dict[tuple[str, str], int] = {}
        self.strongest: list[Finding] = []

    def to_dict(self) -> dict[str, Any]:
        pairs = sorted(self.by_target.items())
        return {
            "mechanism": self.mechanism,
            "counts": self.counts,
            "by_target": [{"network": net, "target": target, "findings": n} for (net, target), n in pairs],
            "strongest": [one.to_dict() for one in self.strongest],
        }


class Limit:
    """
    Something that was not looked at or could not be judged: a code, a sentence, and how often (None: not a number).
    """

    __slots__ = ("code", "text", "count")

    def __init__(self, code: str, text: str, count: int | None = None) -> None:
        self.code = code
        self.text = text
        self.count = count

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__}


class Answer:
    """
    All that a report needs, of one run over one or more captures.

    ``statements``: the answer in sentences, one for each assessment, or one that says why there is none; never empty.
    ``first_ns``, ``last_ns``: of all captures.  ``targets``: those seen, `Target`, with ``other`` for all further
    names. ``networks``: `Network`.  ``cells``: `Cells`, of each network and target at each point; the point
    ``attempt`` is the attempt as a whole, from which the votes come.  ``events``, ``assessments``: in the order of
    their onset; an assessment names its events by id.  ``groups``: `Group`, findings by mechanism, the most frequent
    first.  ``summaries``: `tamperscope.model.Summary` of each capture.  ``limits``: `Limit`.  ``thresholds``: what a
    verdict needs, name to value. ``version``, ``rules``: of the program and of its data.
    """

    __slots__ = (
        "statements", "first_ns", "last_ns", "targets", "networks", "cells", "events", "assessments", "groups",
        "summaries", "limits", "thresholds", "version", "rules",
    )  # fmt: skip

    def __init__(self, *, version: str = "", rules: str = "") -> None:
        self.statements: list[str] = []
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.targets: list[Target] = []
        self.networks: list[Network] = []
        self.cells: list[Cells] = []
        self.events: list[Event] = []
        self.assessments: list[Assessment] = []
        self.groups: list[Group] = []
        self.summaries: list[Summary] = []
        self.limits: list[Limit] = []
        self.thresholds: dict[str, float] = {}
        self.version = version
        self.rules = rules

    def to_dict(self) -> dict[str, Any]:
        """One JSON object with everything in it; events, assessments, cells and findings as in their own records."""
        record: dict[str, Any] = {"type": "answer", "schema": SCHEMA, "statements": self.statements}
        record["first"], record["last"] = iso_time(self.first_ns), iso_time(self.last_ns)
        for key in ("targets", "networks", "cells", "events", "assessments", "groups", "summaries", "limits"):
            record[key] = [one.to_dict() for one in getattr(self, key)]
        return record | {"thresholds": self.thresholds, "version": self.version, "rules": self.rules}
