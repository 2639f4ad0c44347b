"""
What a report was made of, so that somebody else can check it: hashes of inputs, data and outputs, versions, options.

`write` makes ``report.html.manifest.json``; `check` says what differs.  No time of making and no name of a machine
stands in it: same input, same bytes.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256

from tamperscope.catalogue import DATA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from tamperscope.answer import Answer

CHUNK = 1 << 20
MOST = 1 << 26  # bytes of a manifest that is read back


class File:
    """A file as it was: ``path`` as given, ``name`` for people; ``size`` and ``sha256`` None where it was a pipe."""

    __slots__ = ("path", "name", "size", "sha256")

    def __init__(self, path: str, name: str, size: int | None, sha256: str | None) -> None:
        self.path = path
        self.name = name
        self.size = size
        self.sha256 = sha256

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "sha256": self.sha256}


def hashed(path: str, name: str | None = None) -> File:
    """Read a file and hash it.  Raises OSError."""
    total, size = sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while data := file.read(CHUNK):
            total.update(data)
            size += len(data)
    return File(path, name or path, size, total.hexdigest())


def data_files() -> list[File]:
    """The rules and tables that come with the package, by name.  Raises OSError."""
    return [hashed(path, os.path.relpath(path, DATA)) for path in sorted(_below(DATA))]


def _below(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _below(entry.path)
        elif entry.name.endswith(".toml"):
            yield entry.path


def manifest(
    answer: Answer, inputs: Sequence[File], data: Sequence[File], outputs: Sequence[File], options: dict[str, Any]
) -> str:
    """JSON, keys in order, a line break at the end."""
    by_path = {one.capture: one for one in answer.summaries}
    record = {
        "type": "manifest",
        "schema": 1,
        "tool": {"name": "tamperscope", "version": answer.version, "rules": answer.rules},
        "options": options,
        "inputs": [one.to_dict() | _of(by_path.get(one.path)) for one in inputs],
        "data": [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in data],
        "outputs": [one.to_dict() for one in outputs],
        "limits": [one.to_dict() for one in answer.limits],
        "clock": "that of the capturing machine; who set it is not stated",
        "stated": dict.fromkeys(("collected_by", "place", "method", "clock_set_by", "consent")),
    }
    return json.dumps(record, indent=1) + "\n"


def _of(summary: Any) -> dict[str, Any]:
    if summary is None:
        return {}
    told = summary.to_dict()
    return {key: told[key] for key in ("format", "frames", "packets", "bytes", "limits")} | {
        "first_ns": summary.first_ns, "last_ns": summary.last_ns,
    }  # fmt: skip


def check(path: str) -> list[tuple[str, str, str]]:
    """
    Hold what a manifest lists to the files: [(kind, name, "same" | "differs" | "missing" | "unknown")].

    An input is looked for as it was given, then beside the manifest; an output beside it; data in this installation.

    Raises:
        OSError: the manifest cannot be read.  ValueError: it is none.
    """
    with open(path, "rb") as file:
        raw = file.read(MOST)
    record = json.loads(raw)
    if not isinstance(record, dict) or record.get("type") != "manifest":
        raise ValueError("not a manifest of pcap-scan")
    folder = os.path.dirname(path)
    out = []
    for kind, key in (("input", "path"), ("output", "path"), ("data", "name")):
        entries = record.get("data" if kind == "data" else f"{kind}s")
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict) or not isinstance(entry.get(key), str) or "\0" in entry[key]:
                raise ValueError(f"an entry of {kind} has no {key}")
            out.append((kind, entry[key], _state(kind, entry[key], entry.get("sha256"), folder)))
    if not out:
        raise ValueError("it lists no file")
    return out


def _state(kind: str, name: str, known: object, folder: str) -> str:
    beside = os.path.join(folder, os.path.basename(name))
    places = {"input": (name, beside), "output": (beside,), "data": (os.path.join(DATA, name),)}[kind]
    if kind == "data" and (os.path.isabs(name) or ".." in name.split("/")):
        places = (name,)  # a table of the user's own
    if known is None:
        return "unknown"
    for place in places:
        try:
            if os.path.isfile(place):
                return "same" if hashed(place).sha256 == known else "differs"
        except OSError:
            continue
    return "missing"
