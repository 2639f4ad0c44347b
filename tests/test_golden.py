"""
What each stage makes of a few captures, held to files: packets, flows, observations, findings.

    python tests/test_golden.py --write      write the files anew; the diff belongs into the commit's reasons

The files hold facts only (numbers, names, frames), no bytes of packets.  Packets are held by a digest for each column,
so that a change names the columns it is in, and by their first rows.
"""

from __future__ import annotations

import difflib
import hashlib
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from corpus import CASES, DEMO
from tamperscope import core, fingerprinters, judge, marks
from tamperscope.capture import open_capture
from tamperscope.model import Finding, FlowRecord, name_text
from tamperscope.report.jsonl import line
from tamperscope.scan import scan

GOLDEN = pathlib.Path(__file__).parent / "golden"
CAPTURES = {
    DEMO.stem: DEMO,
    **{
        name: CASES / f"{name}.pcap"
        for name in (
            "cn-gfw-sni-usersporn-vps",  # resets to both ends
            "ru-tspu-ech-matrix-drop",  # hellos dropped
            "lab-dns-one-answer",  # forged answers without a rival
            "mirror-duplicates-rst",  # innocent: every frame twice
            "lb-ttl-mismatch-aws",  # innocent: resets of another TTL
        )
    },
}
COLUMNS = (
    "frame", "time_ns", "flow", "source", "destination", "source_port", "destination_port", "protocol", "flags", "seq",
    "ack", "window", "payload_length", "captured_length", "wire_length", "ttl", "tos", "ip_id", "vlan", "anomalies",
)  # fmt: skip
FIRST = 12  # packets shown
SHOWN = 60  # lines of a diff


def packets(path: pathlib.Path) -> Iterator[str]:
    """A digest for each column, then the first rows."""
    digests = {column: hashlib.sha256() for column in COLUMNS}
    first: list[str] = []
    count = 0
    with open_capture(path) as capture:
        for batch in capture:
            rows = batch.packets
            for column in COLUMNS:
                values = getattr(rows, column)
                digests[column].update(values.astype(values.dtype.newbyteorder("<")).tobytes())
            for i in range(min(len(rows), FIRST - len(first))):
                first.append(" ".join(_value(rows, column, i) for column in COLUMNS))
            count += len(rows)
    yield f"{count} packets"
    yield from (f"{column} {digest.hexdigest()[:16]}" for column, digest in digests.items())
    yield " ".join(COLUMNS)
    yield from first


def _value(rows: Any, column: str, i: int) -> str:
    if column in ("source", "destination"):
        return str(rows.address(column, i))
    value = int(getattr(rows, column)[i])
    return hex(value) if column in ("flags", "anomalies") else str(value)


def flow_rows(path: pathlib.Path) -> Iterator[str]:
    """One line a flow, in the order in which they became final; what is not there is left out."""
    for flow in scan(path, flows=True):
        if not isinstance(flow, FlowRecord):
            continue
        words = [
            f"{flow.flow}", flow.proto,
            f"{_end(flow.client, flow.client_port)}>{_end(flow.server, flow.server_port)}",
            f"by={flow.client_by}", f"frames={flow.first_frame}-{flow.last_frame}",
            f"time={flow.time_ns}-{flow.end_ns}",
            f"packets={flow.packets_to_server}/{flow.packets_to_client}",
            f"bytes={flow.bytes_to_server}/{flow.bytes_to_client}", flow.conn_state, flow.history,
            f"name={name_text(flow.name)[0]}({flow.name_from})" if flow.name else None,
            "outer" if flow.name_is_outer else None, f"rtt={flow.rtt_ms}" if flow.rtt_ms is not None else None,
            f"{flow.outcome}@{flow.stage}", f"final={flow.final_by}", f"vantage={flow.vantage}",
            f"marks={','.join(flow.marks)}" if flow.marks else None,
            f"anomalies={','.join(flow.anomalies)}" if flow.anomalies else None,
        ]  # fmt: skip
        yield " ".join(word for word in words if word)


def _end(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def observations(path: pathlib.Path) -> Iterator[str]:
    """Every fact that a fingerprinter stated: unit and its number, mechanism, id, role, frames, values."""
    scanning = core.Core(core.CANDIDATES, flow_marks=marks.FLOW_MARKS, transaction_marks=marks.TRANSACTION_MARKS)
    scanning.feed(path.read_bytes())
    scanning.end()
    found: list[tuple[str, int, str]] = []
    while batch := scanning.take(core.CANDIDATES):
        columns = judge.tables(batch)
        for kind in fingerprinters.ALL:
            one = kind()
            if not len(columns[one.unit]):
                continue
            picked = columns[one.unit].select(one.pick(columns[one.unit]))
            for seen in [*one.examine(picked), *one.compare(picked, picked.context)]:
                for at, row in enumerate(seen.rows.tolist()):
                    values = [f"{name}={_shown(array[at])}" for name, array in seen.values.items()]
                    frames = ",".join(map(str, seen.frames_of(at)))
                    words = [one.mechanism, seen.id, seen.role, f"frames={frames}" if frames else "", *values]
                    number = int(picked.units["number"][row])
                    found.append((one.unit, number, " ".join(word for word in words if word)))
    found.sort(key=lambda fact: fact[:2])  # stable: the facts of a unit stay in the order in which they were stated
    return (f"{unit} {number} {words}" for unit, number, words in found)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value.item():.10g}"


def findings(path: pathlib.Path) -> Iterator[str]:
    """JSON Lines, under the capture's bare name."""
    for found in scan(path):
        assert isinstance(found, Finding)
        found.capture = path.name
        yield line(found)


STAGES: dict[str, tuple[str, Callable[[pathlib.Path], Iterator[str]]]] = {
    "packets": ("packets.txt", packets),
    "flows": ("flows.txt", flow_rows),
    "observations": ("observations.txt", observations),
    "findings": ("findings.jsonl", findings),
}


def difference(wanted: str, got: str, name: str) -> str:
    """A unified diff for people; long lines and long diffs are cut."""
    before, after = wanted.splitlines(), got.splitlines()
    lines = list(difflib.unified_diff(before, after, f"{name} (golden)", f"{name} (now)", n=0, lineterm=""))
    shown = [text if len(text) <= 400 else text[:400] + "..." for text in lines[:SHOWN]]
    more = [f"... {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
    return "\n".join(
        ["", *shown, *more, "if this is meant: python tests/test_golden.py --write, and say why in the commit"]
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", CAPTURES)
def test_stage(name: str, stage: str) -> None:
    path = CAPTURES[name]
    if not path.exists():
        pytest.skip(f"{path.name} is in the corpus only (TAMPERSCOPE_CORPUS says where)")
    file, make = STAGES[stage]
    wanted = (GOLDEN / name / file).read_text("ascii")
    got = "".join(text + "\n" for text in make(path))
    if got != wanted:
        pytest.fail(difference(wanted, got, f"{name}/{file}"), pytrace=False)


def test_golden_files_are_those_of_the_captures() -> None:
    """No file that nothing is held to."""
    there = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*") if path.is_file()}
    assert there == {f"{name}/{file}" for name in CAPTURES for file, _ in STAGES.values()}


def test_a_change_shows() -> None:
    """The diff names the lines, says how to accept them, and stays readable."""
    text = difference("a\nb\nc\n", "a\nB\nc\n", "x")
    assert "-b" in text and "+B" in text and "-a" not in text and "--write" in text
    assert len(difference("", "\n".join(map(str, range(9999))), "x").splitlines()) <= SHOWN + 6


def write() -> None:
    for name, path in CAPTURES.items():
        if not path.exists():
            print(f"{path} is missing: {name} stays as it is", file=sys.stderr)
            continue
        (GOLDEN / name).mkdir(parents=True, exist_ok=True)
        for file, make in STAGES.values():
            (GOLDEN / name / file).write_text("".join(text + "\n" for text in make(path)), "ascii")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_golden.py --write")
    write()
