"""Findings of a capture as JSON Lines, from the reference core and the real fingerprinters.

Usage: python tests/reference/scan.py [--all] CAPTURE
"""

from __future__ import annotations

import ipaddress
import json
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from reference import core  # noqa: E402
from tamperscope import fingerprinters, weigh  # noqa: E402
from tamperscope.fingerprint import Candidates, Transactions  # noqa: E402


def columns(tables: core.Tables) -> dict[str, Any]:
    """Candidates and transactions of all flows, marked or not."""
    return {
        "flow": Candidates(tables.flows, tables.trace, tables.flow_context, tables.text),
        "transaction": Transactions(tables.transactions, tables.messages, tables.transaction_context, tables.text),
    }


def findings(tables: core.Tables) -> list[dict[str, Any]]:
    """Judged findings, with who and where."""
    weights, units = weigh.load(), columns(tables)
    judged = [weigh.judge(f(), units[f.unit], weights) for f in fingerprinters.ALL]
    out = []
    for judgement, index, finding in weigh.resolve(judged):
        unit = judgement.columns.units[index]
        trigger = int(unit["trigger_frame" if judgement.columns.unit == "flow" else "query_frame"]) or None
        name = judgement.columns.name(index)
        who = {
            "flow": int(unit["number"]),
            "proto": "tcp" if unit["protocol"] == 6 else "udp",
            "trigger_frame": trigger,
        }
        who |= {
            "client": address(unit["client"]),
            "client_port": int(unit["client_port"]),
            "name": name and name.decode("latin-1"),
        }
        who |= {"server": address(unit["server"]), "server_port": int(unit["server_port"])}
        for side in ("evidence", "against"):
            finding[side] = [fact.to_dict() for fact in finding[side]]
        out.append({"type": "finding", **who, **finding, "log_odds": round(float(judgement.log_odds[index]), 2)})
    return out


def address(raw: Any) -> str:
    ip = ipaddress.IPv6Address(bytes(raw))
    return str(ip.ipv4_mapped or ip)


def main() -> None:
    for finding in findings(core.scan(sys.argv[-1])):
        print(json.dumps(finding))


if __name__ == "__main__":
    main()
