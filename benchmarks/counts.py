"""What every tool has to find in a capture, so that their times can be compared at all.

Only what is equal may be raced: a tool that finds fewer flows or names is not faster, it does less.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

NUMBERS = ("frames", "packets", "flows", "rsts")
NAMES = ("sni", "hosts", "queries")


def plain_name(name: bytes | str, with_port: bool = False) -> str:
    """A name in the form that is compared: lower case, no final dot, no port of an HTTP Host."""
    text = name.decode("ascii", "backslashreplace") if isinstance(name, bytes) else name
    text = text.strip().lower()
    if with_port and not text.endswith("]"):
        head, colon, tail = text.rpartition(":")
        if colon and tail.isdigit():
            text = head
    return text.rstrip(".")


@dataclass
class Counts:
    """Results of one tool on one capture; None means that this run of it does not tell.

    frames: records of the file.  packets: frames with an IPv4 or IPv6 packet.  flows: TCP and UDP 5-tuples, both
    directions together.  rsts: TCP packets with the RST flag.  sni, hosts, queries: the first name of each flow
    (TLS ClientHello, HTTP Host, DNS question), with the number of flows that carry it.
    """

    frames: int | None = None
    packets: int | None = None
    flows: int | None = None
    rsts: int | None = None
    sni: Counter[str] | None = None
    hosts: Counter[str] | None = None
    queries: Counter[str] | None = None
    findings: int | None = field(default=None, compare=False)

    def as_dict(self) -> dict[str, int | str | None]:
        """Flat and short: names as their number and a digest over all of them."""
        flat: dict[str, int | str | None] = {name: getattr(self, name) for name in NUMBERS}
        for kind in NAMES:
            names: Counter[str] | None = getattr(self, kind)
            flat[kind] = None if names is None else names.total()
            flat[kind + "_digest"] = None if names is None else digest(names)
        return flat

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.as_dict(), separators=(",", ":"))


def digest(names: Counter[str]) -> str:
    """First 16 hexadecimal digits of a SHA-256 over the sorted names with their counts."""
    text = "".join(f"{name}\t{count}\n" for name, count in sorted(names.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(ours: Counts, theirs: Counts, tool: str) -> list[str]:
    """What two tools disagree about, a line each; fields that one of them does not tell are left out."""
    lines = []
    for entry in fields(Counts):
        mine, other = getattr(ours, entry.name), getattr(theirs, entry.name)
        if not entry.compare or mine is None or other is None or mine == other:
            continue
        if isinstance(mine, Counter):
            missing, added = mine - other, other - mine
            lines.append(
                f"{entry.name}: {tool} has {other.total()}, tamperscope {mine.total()}; "
                f"only tamperscope: {_some(missing)}; only {tool}: {_some(added)}"
            )
        else:
            lines.append(f"{entry.name}: {tool} has {other}, tamperscope {mine}")
    return lines


def compared(ours: Counts, theirs: Counts) -> list[str]:
    """Fields that both tools tell."""
    return [
        entry.name
        for entry in fields(Counts)
        if entry.compare and getattr(ours, entry.name) is not None and getattr(theirs, entry.name) is not None
    ]


def _some(names: Counter[str]) -> str:
    shown = [f"{name} x{count}" for name, count in sorted(names.items())[:3]]
    return ", ".join(shown + (["..."] if len(names) > 3 else [])) or "none"


def counter(names: Iterable[str]) -> Counter[str]:
    """A Counter of names (mypy needs the element type said once)."""
    return Counter(names)
