"""A batch of candidates to findings: fingerprinters look, `weigh` weighs, here is added who, where and when."""

from __future__ import annotations

from tamperscope import attribution, core, fingerprinters, flows, weigh
from tamperscope.fingerprint import Candidates, Transactions
from tamperscope.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from tamperscope.fingerprint import Fingerprinter

LIMITS = {
    "FACT_ONE_WAY": "one_direction", "FACT_CUT_BY_END": "cut_by_end", "FACT_SNAP_CUT": "payload_cut",
    "FACT_TRACE_TAKEN": "trace_taken", "FACT_TRACE_FULL": "trace_full",
    "FACT_UNSEEN_CLIENT": "client_bytes_not_captured", "FACT_UNSEEN_SERVER": "server_bytes_not_captured",
    "FACT_COPIES": "duplicated_frames",
}  # fmt: skip


class Judge:
    """The fingerprinters of one scan, with their weights."""

    def __init__(self, chosen: Sequence[Fingerprinter] | None, capture: str, vantage: str) -> None:
        self.fingerprinters = [one() for one in fingerprinters.ALL] if chosen is None else chosen
        self._weights = weigh.load()
        self._boxes: attribution.Boxes | None = None
        self._capture = capture
        self._vantage = vantage

    def findings(self, batch: core.Batch) -> Iterator[Finding]:
        """Findings of one batch, in the order of the units in it: flows, then transactions."""
        yield from self.resolved(self.judgements(batch))

    def judgements(self, batch: core.Batch) -> list[weigh.Judgement]:
        """What each fingerprinter has to say about one batch."""
        columns = tables(batch)
        able = [one for one in self.fingerprinters if len(columns[one.unit])]
        return [weigh.judge(one, columns[one.unit], self._weights) for one in able]

    def resolved(self, judged: list[weigh.Judgement]) -> Iterator[Finding]:
        """Their findings, at most one a unit."""
        boxes: dict[int, list[dict[str, Any] | None]] = {}
        for judgement, index, finding in weigh.resolve(judged):
            if finding["injected_frames"] and finding["verdict"] != "insufficient":
                if id(judgement) not in boxes:
                    self._boxes = self._boxes or attribution.Boxes()
                    boxes[id(judgement)] = self._boxes.of(judgement)
                finding["injector"] = boxes[id(judgement)][index]
            yield self._finding(judgement.columns, index, finding)

    def _finding(self, columns: Any, index: int, found: dict[str, Any]) -> Finding:
        unit = columns.units[index]
        is_flow = columns.unit == "flow"
        client, server = unit["client"].tobytes(), unit["server"].tobytes()
        ports = int(unit["client_port"]), int(unit["server_port"])
        community = flows.community_id(int(unit["protocol"]), client, server, *ports)
        trigger = int(unit["trigger_frame" if is_flow else "query_frame"]) or None
        transaction = None if is_flow else int(unit["number"])
        name = columns.name(index)
        return Finding(
            id=finding_id(found["mechanism"], community, transaction, int(unit["first_ns"]), trigger),
            capture=self._capture,
            flow=int(unit["number" if is_flow else "flow"]),
            transaction=transaction,
            time_ns=_time(unit, is_flow),
            proto=flows.PROTOCOLS.get(int(unit["protocol"]), "other"),
            client=flows.address(client),
            client_port=ports[0],
            server=flows.address(server),
            server_port=ports[1],
            community_id=community,
            name=name,
            name_from=_name_from(unit, is_flow, name),
            name_is_outer=bool(int(unit["facts"]) & core.constant("FACT_ECH")) if is_flow and name else None,
            trigger_frame=trigger,
            rtt_ms=flows.rtt_ms(unit) if is_flow else None,
            vantage=self._vantage,
            **{**found, "limits": [*(_limits(int(unit["facts"])) if is_flow else []), *found["limits"]]},
        )


def tables(batch: core.Batch) -> dict[str, Any]:
    """The columns that fingerprinters work on, by their unit."""
    text = batch.text
    return {
        "flow": Candidates(
            batch.table("flows", "tscope_flow", "n_flows"),
            batch.table("trace", "tscope_trace", "n_trace"),
            batch.table("flow_context", "tscope_flow_context", "n_flows"),
            text,
            batch.table("answers", "tscope_answer", "n_flows"),
            batch.table("answer_context", "tscope_answer_context", "n_flows"),
        ),
        "transaction": Transactions(
            batch.table("transactions", "tscope_transaction", "n_transactions"),
            batch.table("messages", "tscope_message", "n_messages"),
            batch.table("transaction_context", "tscope_transaction_context", "n_transactions"),
            text,
        ),
    }


def finding_id(mechanism: str, community: str, transaction: int | None, first_ns: int, trigger: int | None) -> str:
    """Known as soon as the flow is, and the same in every run."""
    from hashlib import blake2b

    words = f"{mechanism} {community} {transaction} {first_ns} {trigger}"
    return blake2b(words.encode(), digest_size=8).hexdigest()


def _time(unit: Any, is_flow: bool) -> int:
    at = int(unit["trigger_ns" if is_flow else "query_ns"])
    return at if at >= 0 else int(unit["first_ns"])


def _name_from(unit: Any, is_flow: bool, name: bytes | None) -> str | None:
    if not name:
        return None
    return flows.word("tscope_name_from", int(unit["name_from"])) if is_flow else "dns_query"


def _limits(facts: int) -> list[str]:
    return [word for name, word in LIMITS.items() if facts & core.constant(name)]
