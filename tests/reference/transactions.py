"""DNS transactions over UDP port 53, naively.  (Over TCP: only the C core.)

Definitions: a message belongs to the transaction of its flow, id, type and name that is not settled yet; settled is 5 s
after the first answer, 30 s after the last query without any.  A response without a question section belongs to the
latest transaction of its flow and id.  Copies (DUPLICATE packets) are messages but count neither as queries nor
answers. Two answers differ where rcode, records digest or the flags AA, TC, RA, AD differ; transactions with such
answers are `conflicting` and give no baseline.  ANSWER_TTL looks at the resolver's transactions answered before this
one, of which four and half of all must share an IP TTL.  agree / differ with another transaction's answers is judged on
the first four addresses of each.  TOO_FAST looks at the resolver's transactions before this one, of which there must be
four, and leaves out those with a special address.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import names
from reference.layout import MESSAGE, TRANSACTION, TRANSACTION_CONTEXT, enumeration

MARK, TFACT, MSG = enumeration("MARK_"), enumeration("TFACT_"), enumeration("MSG_")
SECOND = 10**9
FLAGS = 0x0400 | 0x0200 | 0x0080 | 0x0020
SPECIAL = (2, 3, 4, 5, 6, 7, 8)
ORDINARY = (1, 9)
LOCAL = {
    "local", "localhost", "invalid", "test", "onion", "alt", "internal", "arpa", "lan", "home", "localdomain", "domain",
    "corp", "intranet", "private", "workgroup",
}  # fmt: skip
AA = 0x0400
Item = dict[str, Any]


class Transactions:
    """All transactions of a capture, in order of their first message."""

    def __init__(self) -> None:
        self.all: list[Item] = []

    def add(self, flow: Any, p: Item) -> None:
        """One UDP packet with port 53 at an end."""
        m = names.dns(p["payload"])
        if m is None:
            return
        m.update(packet=p, answer=bool(m["flags"] & 0x8000), addresses=[r for r in m["records"] if r[0] in (1, 28)])
        t = self._find(flow, m, p)
        if t is None:
            t = {
                "number": len(self.all) + 1,
                "flow": flow,
                "messages": [],
                "id": m["id"],
                "type": m["type"],
                "name": m["name"],
                "class_": m["class_"],
            }
            self.all.append(t)
        t["messages"].append(m)

    def _find(self, flow: Any, m: Item, p: Item) -> Item | None:
        for t in reversed(self.all):
            if (
                t["flow"] is flow
                and t["id"] == m["id"]
                and (not m["counts"][0] or (t["type"], t["name"]) == (m["type"], m["name"]))
            ):
                return t if p["time_ns"] <= self._settled(t) else None
        return None

    def _settled(self, t: Item) -> int:
        answers = [m["packet"]["time_ns"] for m in t["messages"] if m["answer"]]
        return answers[0] + 5 * SECOND if answers else t["messages"][-1]["packet"]["time_ns"] + 30 * SECOND

    def tables(self, flows: list[Any], text: bytearray) -> tuple[list[Any], list[Any]]:
        """(rows of TRANSACTION, rows of MESSAGE)."""
        rows, messages = [], []
        for t in self.all:
            t["row"] = _row(t, self.all, flows[-1].final if flows else (0, 0, 0))
            t["row"]["message_offset"], t["row"]["message_count"] = len(messages), len(t["messages"])
            t["row"]["name_offset"], t["row"]["name_length"] = len(text), len(t["name"])
            text += t["name"].encode("latin-1")
            rows.append(t["row"])
            messages += [_message(m) for m in t["messages"]]
        return rows, messages


def _real(t: Item, answer: bool) -> list[Item]:
    return [m for m in t["messages"] if m["answer"] == answer and not m["packet"].get("copy")]


def _row(t: Item, everything: list[Item], final: tuple[int, int, int]) -> Any:
    row = np.zeros((), TRANSACTION)
    queries, answers = _real(t, False), _real(t, True)
    first, last, flow = t["messages"][0], t["messages"][-1], t["flow"].packets[0]
    p = first["packet"]
    ends = [(p["source"], p["sport"]), (p["destination"], p["dport"])]
    ends = ends[::-1] if first["answer"] else ends
    row["number"], row["flow"], row["first_frame"], row["last_frame"] = (
        t["number"],
        t["flow"].number,
        p["frame"],
        last["packet"]["frame"],
    )
    row["query_frame"], row["query_ns"] = (
        (queries[0]["packet"]["frame"], queries[0]["packet"]["time_ns"]) if queries else (0, -1)
    )
    row["first_ns"], row["answer_ns"] = p["time_ns"], answers[0]["packet"]["time_ns"] if answers else -1
    row["flow_first_ns"], row["final_by"], row["final_frame"] = flow["time_ns"], final[0], final[1]
    row["client"], row["server"] = (np.frombuffer(end[0], "u1") for end in ends)
    row["client_port"], row["server_port"] = ends[0][1], ends[1][1]
    row["queries"], row["answers"], row["interface"] = len(queries), len(answers), p["interface"]
    row["id"], row["type"], row["class_"], row["protocol"], row["ip_version"] = (
        t["id"],
        t["type"],
        t["class_"],
        17,
        p["ip_version"],
    )
    row["client_ttl"] = queries[0]["packet"]["ttl"] if queries else 0
    t["conflict"] = len({(m["flags"] & 15, records(m), m["flags"] & FLAGS) for m in answers}) > 1
    t["final"] = final
    row["marks"] = _marks(t, everything, queries, answers)
    return row


def _marks(t: Item, everything: list[Item], queries: list[Item], answers: list[Item]) -> int:
    ids = {m["packet"]["ip_id"] for m in queries} - {0}
    before = [_rtt(o) for o in everything[: t["number"] - 1] if _resolver(o) == _resolver(t) and not _is_special(o)]
    before = [r for r in before if r > 0]
    holds = {
        "ANSWERED_TWICE": len(answers) > 1,
        "ANSWERS_DIFFER": t["conflict"],
        "UNANSWERED_QUERY": bool(queries) and not answers,
        "SPECIAL_ADDRESS": _is_special(t),
        "WRONG_TYPE": any(
            m["records"] and not {t["type"], 5, 39, 46} & {r[0] for r in m["records"]} and t["type"] != 255
            for m in answers
        ),
        "MALFORMED": any(m["malformed"] for m in answers if m["packet"]["length"] == len(m["packet"]["payload"])),
        "UNASKED": bool(answers) and not queries,
        "IP_ID_COPIED": any(m["packet"]["ip_id"] in ids for m in answers),
        "TOO_FAST": len(before) >= 4 and 0 < _rtt(t) < min(before) / 4,
        "IGNORED": bool(queries) and not answers and _is_ignored(t, queries, everything),
        "ANSWER_TTL": bool(answers) and _is_unusual(t, everything),
    }
    return sum(MARK[name] for name, true in holds.items() if true)


def _is_ignored(t: Item, queries: list[Item], everything: list[Item]) -> bool:
    answered = any(_resolver(o) == _resolver(t) and _real(o, True) and not o.get("conflict") for o in everything)
    asked = queries[0]["flags"] & 0x0100 and "." in t["name"] and t["name"].rsplit(".")[-1] not in LOCAL
    return bool(answered and asked and t["final"][2] - queries[0]["packet"]["time_ns"] >= 3 * SECOND)


def _kinds(t: Item) -> list[int]:
    return [names.address_kind(_mapped(m["addresses"][0])) for m in _real(t, True) if m["addresses"]]


def _is_special(t: Item) -> bool:
    return any(kind in SPECIAL for kind in _kinds(t))


def _ttl(t: Item) -> int:
    ttl: int = _real(t, True)[0]["packet"]["ttl"]
    return ttl


def _is_unusual(t: Item, everything: list[Item]) -> bool:
    first = _real(t, True)[0]["packet"]["frame"]
    others = [o for o in everything if o is not t and _resolver(o) == _resolver(t) and _real(o, True)]
    others = [o for o in others if len({records(m) for m in _real(o, True)}) == 1]
    ttls = [_ttl(o) for o in others if _real(o, True)[0]["packet"]["frame"] < first]
    usual = max(ttls, key=ttls.count, default=0)
    count = ttls.count(usual)
    return count >= 4 and 2 * count >= len(ttls) and abs(usual - _ttl(t)) > 1 and ttls.count(_ttl(t)) * 4 <= count


def _rtt(t: Item) -> int:
    queries, answers = _real(t, False), _real(t, True)
    return answers[0]["packet"]["time_ns"] - queries[0]["packet"]["time_ns"] if queries and answers else -1


def _resolver(t: Item) -> Any:
    m = t["messages"][0]
    p = m["packet"]
    return (p["source"], p["sport"]) if m["answer"] else (p["destination"], p["dport"])


def _mapped(record: tuple[int, bytes]) -> bytes:
    return b"\0" * 10 + b"\xff\xff" + record[1] if record[0] == 1 else record[1]


def records(m: Item) -> int:
    """Digest of all answer records, independent of their order."""
    return names.digest(b"".join(sorted(bytes((kind & 255,)) + data for kind, data in m["records"])), 8)


def _message(m: Item) -> Any:
    row, p = np.zeros((), MESSAGE), m["packet"]
    row["frame"], row["time_ns"], row["payload_length"] = p["frame"], p["time_ns"], p["length"]
    row["records_digest"] = records(m)
    row["addresses_digest"] = names.digest(b"".join(sorted(_mapped(r) for r in m["addresses"])), 8)
    for n, record in enumerate(m["addresses"][:4]):
        if len(record[1]) in (4, 16):
            row["addresses"][n] = np.frombuffer(_mapped(record), "u1")
    row["record_ttl"], row["flags"], row["counts"], row["first_type"] = (
        m["record_ttl"],
        m["flags"],
        m["counts"],
        m["first_type"],
    )
    row["n_addresses"], row["n_cnames"] = len(m["addresses"]), sum(r[0] == 5 for r in m["records"])
    row["edns_size"], row["is_answer"], row["rcode"] = m["edns_size"], m["answer"], m["flags"] & 15
    row["address_kind"] = names.address_kind(_mapped(m["addresses"][0])) if m["addresses"] else 0
    for key in ("ip_id", "ttl", "tos", "ip_flags"):
        row[key] = p[key]
    cut = p["length"] > len(p["payload"])
    bits = (m["malformed"] and not cut, cut, m["trailing"], not m["counts"][0], m["edns"], p.get("copy", False))
    row["what"] = sum(1 << n for n, bit in enumerate(bits) if bit)
    return row


def transaction_context(everything: list[Item]) -> Any:
    """tscope_transaction_context of every transaction."""
    out = np.zeros(len(everything), TRANSACTION_CONTEXT)
    for t, c in zip(everything, out, strict=True):
        others = [o for o in everything if o is not t and _resolver(o) == _resolver(t)]
        calm = [o for o in others if not o["conflict"] and _real(o, True)]
        rtts = sorted(r for r in map(_rtt, calm) if r > 0)
        c["min_rtt_ns"], c["median_rtt_ns"] = (rtts[0], rtts[len(rtts) // 2]) if rtts else (-1, -1)
        c["answered"], c["conflicting"] = len(calm), sum(o["conflict"] for o in others)
        c["unanswered"] = sum(not _real(o, True) for o in others)
        answers = [m for o in calm for m in _real(o, True)]
        _fill_headers(c, t, answers, calm)
        _fill_addresses(c, t, calm, [o for o in everything if o is not t and not o["conflict"]])
    return out


def _fill_headers(c: Any, t: Item, answers: list[Item], calm: list[Item]) -> None:
    ttls = [m["packet"]["ttl"] for m in answers]
    mine = _real(t, True)
    if ttls:
        c["ttl_mode"] = max(sorted(set(ttls)), key=ttls.count)
        c["ttl_mode_count"] = ttls.count(c["ttl_mode"])
    if mine:
        c["ttl_count"] = ttls.count(mine[0]["packet"]["ttl"])
        before = [m["packet"] for m in answers if m["packet"]["frame"] < mine[0]["packet"]["frame"]]
        after = [m["packet"] for m in answers if m["packet"]["frame"] > mine[-1]["packet"]["frame"]]
        c["ip_id_known"] = bool(before) + 2 * bool(after)
        c["ip_id_before"] = before[-1]["ip_id"] if before else 0
        c["ip_id_after"] = after[0]["ip_id"] if after else 0
    c["ip_id_copied"] = sum(
        bool({m["packet"]["ip_id"] for m in _real(o, False)} - {0} & {m["packet"]["ip_id"] for m in _real(o, True)})
        for o in calm
    )
    kinds = [names.address_kind(_mapped(m["addresses"][0])) for m in answers if m["addresses"]]
    c["special"], c["ordinary"] = sum(k in SPECIAL for k in kinds), sum(k in ORDINARY for k in kinds)
    c["authoritative"] = sum(bool(_real(o, True)[0]["flags"] & AA) for o in calm)
    asked = [o for o in calm if o["messages"][0]["edns"] and not o["messages"][0]["answer"]]
    c["edns_asked"], c["edns_answered"] = len(asked), sum(_real(o, True)[0]["edns"] for o in asked)
    c["timed"] = sum(_rtt(o) > 0 for o in calm)
    if mine:
        usual = [o for o in calm if _ttl(o) == c["ttl_mode"]]
        frames = [_real(o, True)[0]["packet"]["frame"] for o in usual]
        at = mine[0]["packet"]["frame"]
        c["ttl_mode_around"] = any(f < at for f in frames) + 2 * any(f > at for f in frames)
        c["near_usual"] = sum(abs(_time(o) - _time(t)) <= 120 * SECOND for o in usual)


def _time(t: Item) -> int:
    time_ns: int = t["messages"][0]["packet"]["time_ns"]
    return time_ns


def _fill_addresses(c: Any, t: Item, calm: list[Item], everywhere: list[Item]) -> None:
    def addresses(o: Item) -> set[bytes]:
        return {r[1] for m in _real(o, True) for r in m["addresses"][:4]}

    mine = _real(t, True)
    first = mine[0]["addresses"][0][1] if mine and mine[0]["addresses"] else None
    c["address_names"] = (
        len({o["name"] for o in calm if o["name"] != t["name"] and first in addresses(o)}) if first else 0
    )
    same = [o for o in everywhere if (o["name"], o["type"]) == (t["name"], t["type"]) and _real(o, True)]
    agrees = [o for o in same if addresses(o) & addresses(t)]
    c["name_agrees"], c["name_differs"] = len(agrees), len(same) - len(agrees)
    far = [o for o in same if _resolver(o) != _resolver(t)]
    c["other_resolver_agrees"] = sum(bool(addresses(o) & addresses(t)) for o in far)
    c["other_resolver_differs"] = len(far) - int(c["other_resolver_agrees"])
    plain = [o for o in same if any(names.address_kind(_mapped(r)) in ORDINARY for r in _real(o, True)[0]["addresses"])]
    c["name_ordinary"] = len(plain)
    c["other_resolver_ordinary"] = sum(_resolver(o) != _resolver(t) for o in plain)
