"""
Evidence to verdicts: the only place where facts are judged.

A candidate's log10 odds are the prior of its mechanism and stage, and the sum over groups of the weights of its
observations; a group counts at most 2 in either direction unless a proof is in it (facts of one cause are one fact).
Weights, groups, priors and sentences are data: ``data/weights.toml``.

    confirmed      confidence at least 0.99, and a proof
    likely         confidence at least 0.9
    insufficient   0.5 to 0.9, or more where a requirement fails; `missing` says what would decide it
    (nothing)      below 0.5

An absence alone is at most `likely`, and only with a control.  Sentences are made when they are read.
"""

from __future__ import annotations

import os
import tomllib

import numpy as np

from tamperscope.model import Evidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from tamperscope.fingerprint import Columns, Fingerprinter, Observation

    Array = np.ndarray[Any, Any]

WEIGHTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "weights.toml")
STAGES = ("default", "dns", "syn", "handshake", "after_name", "after_request", "transfer")
NOTHING, INSUFFICIENT, LIKELY, CONFIRMED = 0, 1, 2, 3
VERDICTS = (None, "insufficient", "likely", "confirmed")
GROUP_CAP = 2.0
MOST = 0.9999  # no rule was ever tried on enough innocent flows to say more
MAX_FRAMES = 32
MAX_INJECTED = 4096


class Weight:
    """What one observation id means: an entry of ``data/weights.toml``."""

    __slots__ = ("class_", "control", "group", "id", "limit", "missing", "proof", "text", "weight", "why")

    def __init__(self, entry: dict[str, Any]) -> None:
        self.id: str = entry["id"]
        self.group: str = entry["group"]
        self.weight = float(entry["weight"])
        self.class_: str | None = entry.get("class")
        self.proof: bool = entry.get("proof", False)
        self.control: bool = entry.get("control", False)
        self.missing: str | None = entry.get("missing")
        self.limit: str | None = entry.get("limit")
        self.text: str = entry["text"]
        n = f"none of {entry['n']:,} innocent trials showed it" if entry.get("n") else ""
        self.why = "; ".join(part for part in (entry.get("reason"), entry.get("source"), n) if part)
        if not self.why:
            raise ValueError(f"weight {self.id!r} has neither n, source nor reason")


def mechanisms(entry: dict[str, Any]) -> list[str]:
    """The mechanisms that an entry of ``data/weights.toml`` stands for: one, or a list."""
    named = entry["mechanism"]
    return [named] if isinstance(named, str) else named


class Weights:
    """Priors and weights, by mechanism and id."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.priors: dict[str, dict[str, Any]] = data["prior"]
        self.entries: dict[tuple[str, str], Weight] = {
            (mechanism, entry["id"]): Weight(entry) for entry in data["observation"] for mechanism in mechanisms(entry)
        }

    def prior(self, mechanism: str, stages: Array) -> Array:
        """log10 odds before evidence, for each stage (enum tscope_stage): float64, same shape."""
        table = self.priors.get(mechanism, {"default": -3.0})
        values = np.array([float(table.get(stage, table["default"])) for stage in STAGES])
        prior: Array = values[np.minimum(stages, len(STAGES) - 1)]
        return prior

    def extended(self, mechanism: str, entries: Iterable[dict[str, Any]]) -> Weights:
        """These, and a fingerprinter's own."""
        out = Weights({"prior": self.priors, "observation": []})
        out.entries = {**self.entries, **{(mechanism, entry["id"]): Weight(entry) for entry in entries}}
        return out

    def of(self, mechanism: str, id: str) -> Weight:
        """The entry of an observation; ids without one weigh nothing (a user's own, not yet weighed)."""
        found = self.entries.get((mechanism, id))
        return found or Weight(
            {"id": id, "group": "unweighed", "weight": 0.0, "text": id.replace("_", " "), "reason": "none given"}
        )


def load(path: str | os.PathLike[str] = WEIGHTS) -> Weights:
    """Weights from a TOML file.  Raises ValueError for an entry that does not say why it weighs what it weighs."""
    if path == WEIGHTS and _own:
        return _own[0].extended("", ())  # what a caller changes in its table is its own
    with open(path, "rb") as file:
        weights = Weights(tomllib.load(file))
    if path == WEIGHTS:
        _own.append(weights)
    return weights.extended("", ())


_own: list[Weights] = []  # the package's own, read once


class Fact(Evidence):
    """Evidence whose sentence is made when it is read: most findings are never printed."""

    __slots__ = ("template", "values")

    def __init__(self, weight: Weight, frames: list[int], values: dict[str, Any]) -> None:
        self.id = weight.id
        self.group = weight.group
        self.weight = weight.weight
        self.frames = frames
        self.template = weight.text
        self.values = values

    @property
    def text(self) -> str:  # type: ignore[override]
        """The sentence."""
        return self.template.format(**self.values)


class Opinion:
    """
    How the verdict on one candidate comes about.

    stage: word of enum tscope_stage whose prior applies; prior, total: log10 odds; facts: (fact, its weight's entry),
    the heaviest first; groups: {group: (sum of its facts, what of it counts)}; verdict None: nothing is reported.
    """

    __slots__ = ("confidence", "facts", "groups", "mechanism", "missing", "prior", "stage", "total", "verdict")

    def __init__(self, judgement: Judgement, index: int, facts: list[tuple[Fact, Weight]], missing: list[str]) -> None:
        self.mechanism = judgement.mechanism
        self.stage = STAGES[min(int(judgement.stages[index]), len(STAGES) - 1)]
        self.prior = float(judgement.prior[index])
        self.total = float(judgement.log_odds[index])
        self.confidence = float(judgement.confidence[index])
        self.verdict = VERDICTS[judgement.verdict[index]]
        self.missing = missing
        self.facts = sorted(facts, key=lambda fact: -fact[1].weight)
        self.groups: dict[str, tuple[float, float]] = {}
        for _, weight in self.facts:
            members = [one for _, one in self.facts if one.group == weight.group]
            whole = sum(one.weight for one in members)
            proved = any(one.proof for one in members)
            self.groups[weight.group] = whole, whole if proved else max(-GROUP_CAP, min(GROUP_CAP, whole))


class Judgement:
    """
    The verdicts of one fingerprinter on its candidates.

    columns: the candidates; log_odds: float64, shape (n,); verdict: uint8, shape (n,): NOTHING, INSUFFICIENT, LIKELY,
    CONFIRMED; reported: int64 indices of candidates with a verdict; earliest: uint64, shape (n,): first forged frame,
    else first frame of any evidence, 0 where there is none.
    """

    def __init__(
        self,
        mechanism: str,
        columns: Columns,
        observations: list[Observation],
        weights: Weights,
        prior: Array,
        stages: Array | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.columns = columns
        self.observations = observations
        self.prior = prior
        self.stages = np.zeros(len(columns), np.uint8) if stages is None else stages
        self._weights = [weights.of(mechanism, o.id) for o in observations]
        self.log_odds = prior + self._sum()
        self.confidence: Array = np.minimum(1 / (1 + 10.0**-self.log_odds), MOST)
        self.verdict = self._verdicts()
        self.reported: Array = np.flatnonzero(self.verdict)
        self.earliest = self._earliest()

    def _sum(self) -> Array:
        total = np.zeros(len(self.columns))
        for group in sorted({w.group for w in self._weights}):
            members = [(o, w) for o, w in zip(self.observations, self._weights, strict=True) if w.group == group]
            part = np.zeros(len(self.columns))
            proved = np.zeros(len(self.columns), np.bool_)
            for o, w in members:
                part[o.rows] += w.weight
                proved[o.rows] |= w.proof
            total += np.where(proved, part, np.clip(part, -GROUP_CAP, GROUP_CAP))
        return total

    def _has(self, wanted: str) -> Array:
        out = np.zeros(len(self.columns), np.bool_)
        for o, w in zip(self.observations, self._weights, strict=True):
            if getattr(w, wanted):
                out[o.rows] = True
        return out

    def _verdicts(self) -> Array:
        """uint8, shape (n,)."""
        p = self.confidence
        proof, control, failed = self._has("proof"), self._has("control"), self._has("missing")
        absent = self._rests_on_absence()
        verdict = np.select([p >= 0.99, p >= 0.9, p >= 0.5], [CONFIRMED, LIKELY, INSUFFICIENT], NOTHING)
        verdict = np.where(~proof & (verdict == CONFIRMED), LIKELY, verdict)
        lame = (absent & ~control) | failed
        return np.where(lame & (verdict > INSUFFICIENT), INSUFFICIENT, verdict).astype(np.uint8)

    def _rests_on_absence(self) -> Array:
        """Nothing but absences and what goes with them speaks for it."""
        other = np.zeros(len(self.columns), np.bool_)
        absent = np.zeros(len(self.columns), np.bool_)
        for o, w in zip(self.observations, self._weights, strict=True):
            if w.weight > 0:
                target = absent if w.class_ == "absence" else other
                target[o.rows] |= w.class_ != "correlation"
        return absent & ~other

    def _earliest(self) -> Array:
        first = np.full(len(self.columns), np.iinfo(np.int64).max)
        for role in (True, False):
            found = np.full(len(self.columns), np.iinfo(np.int64).max)
            for o in self.observations:
                if (o.role == "injected") == role and len(o.frames):
                    filled = np.diff(o.offsets) > 0
                    lowest = np.minimum.reduceat(o.frames.astype(np.int64), o.offsets[:-1][filled])
                    np.minimum.at(found, o.rows[filled], lowest)
            first = np.where(first == np.iinfo(np.int64).max, found, first)
        return np.where(first == np.iinfo(np.int64).max, 0, first)

    # ------------------------------------------------------------ one finding

    def finding(self, index: int) -> dict[str, Any]:
        """What was judged of one candidate, under the keys of a finding; who and where is the caller's to add."""
        facts = self._facts(index)
        verdict = VERDICTS[self.verdict[index]]
        injected = self._frames(facts, "injected")
        shown = [fact for fact in facts if fact[1].weight]
        evidence = [self._fact(*fact) for fact in shown if fact[1].weight > 0]
        return {
            "mechanism": self.mechanism,
            "verdict": verdict,
            "confidence": round(float(self.confidence[index]), 4) if verdict != "insufficient" else None,
            "proof": self._class(facts),
            "injected_frames": injected[:MAX_INJECTED],
            "injected_total": len(injected),
            "genuine_frames": self._frames(facts, "genuine")[:MAX_FRAMES],
            "also": [],
            "evidence": sorted(evidence, key=lambda fact: -fact.weight),
            "against": [self._fact(*fact) for fact in shown if fact[1].weight < 0],
            "missing": self._missing(facts, verdict),
            "limits": sorted({w.limit for _, w, _ in facts if w.limit}),
        }

    def opinion(self, index: int) -> Opinion:
        """All that was weighed of one candidate, whether or not it is reported."""
        facts = self._facts(index)
        verdict = VERDICTS[self.verdict[index]]
        return Opinion(self, index, [(self._fact(*fact), fact[1]) for fact in facts], self._missing(facts, verdict))

    def _facts(self, index: int) -> list[tuple[Observation, Weight, int]]:
        out = []
        for o, w in zip(self.observations, self._weights, strict=True):
            at = int(np.searchsorted(o.rows, index))
            if at < len(o.rows) and o.rows[at] == index:
                out.append((o, w, at))
        return out

    def _fact(self, o: Observation, w: Weight, at: int) -> Fact:
        return Fact(w, o.frames_of(at)[:MAX_FRAMES], {name: values[at] for name, values in o.values.items()})

    def _frames(self, facts: list[tuple[Observation, Weight, int]], role: str) -> list[int]:
        return sorted({frame for o, _, at in facts if o.role == role for frame in o.frames_of(at)})

    def _class(self, facts: list[tuple[Observation, Weight, int]]) -> str | None:
        """Class of the heaviest proof, else of the heaviest fact."""
        ranked = sorted((fact[1] for fact in facts if fact[1].weight > 0), key=lambda w: (w.proof, w.weight))
        return ranked[-1].class_ if ranked else None

    def _missing(self, facts: list[tuple[Observation, Weight, int]], verdict: str | None) -> list[str]:
        codes = [w.missing for _, w, _ in facts if w.missing]
        if verdict == "insufficient":
            if any(w.class_ == "absence" for _, w, _ in facts) and not any(w.control for _, w, _ in facts):
                codes.append("control")
            if not codes:
                codes.append("proof")
        return sorted(set(codes))


def judge(fingerprinter: Fingerprinter, columns: Any, weights: Weights) -> Judgement:
    """Pick, look, weigh: all candidates of one fingerprinter at once."""
    picked = columns.select(fingerprinter.pick(columns))
    observations = [*fingerprinter.examine(picked), *fingerprinter.compare(picked, picked.context)]
    stages = fingerprinter.stage(picked)
    picked.forget()
    prior = weights.prior(fingerprinter.mechanism, stages)
    if fingerprinter.weights:
        weights = weights.extended(fingerprinter.mechanism, fingerprinter.weights)
    seen = [o for o in observations if len(o.rows)]
    return Judgement(fingerprinter.mechanism, picked, seen, weights, prior, stages)


def resolve(judgements: Iterable[Judgement]) -> list[tuple[Judgement, int, dict[str, Any]]]:
    """
    At most one finding a unit: (judgement, index of the candidate, finding as a dict).

    Of several that accuse, that of the earliest forged frame or first loss stands and names the others in `also`; where
    none accuses, the most probable `insufficient` one stands.  Order: that of the units' numbers.
    """
    by_unit: dict[tuple[str, int], list[tuple[Judgement, int]]] = {}
    for judgement in judgements:
        numbers = judgement.columns.units["number"]
        for index in judgement.reported.tolist():
            by_unit.setdefault((judgement.columns.unit, int(numbers[index])), []).append((judgement, index))
    out = []
    for key in sorted(by_unit):
        first, others = _stands(by_unit[key])
        finding = first[0].finding(first[1])
        finding["also"] = others
        out.append((*first, finding))
    return out


def _stands(rivals: list[tuple[Judgement, int]]) -> tuple[tuple[Judgement, int], list[str]]:
    accusing = [r for r in rivals if r[0].verdict[r[1]] > INSUFFICIENT]
    if accusing:
        accusing.sort(key=lambda r: (int(r[0].earliest[r[1]]), r[0].mechanism))
        return accusing[0], [r[0].mechanism for r in accusing[1:]]
    return max(rivals, key=lambda r: (float(r[0].log_odds[r[1]]), r[0].mechanism)), []
