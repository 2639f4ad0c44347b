#!/usr/bin/env python3
"""Hold the answer for the recorded evenings, and for the twins on which something merely broke, to their indexes.

    python tests/evenings.py [FOLDER]      default: pcaps/evenings

All evenings of interference are given at once, as one would give a month of captures; each twin by itself.  Exits
with 1 where a cause is wrong or interference is told on a twin.  What is missing is counted, not forgiven.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tamperscope.answer import Answer
from tamperscope.scan import scan
from tamperscope.targets import Targets
from tamperscope.watch import Watch

FOLDER = Path(__file__).resolve().parents[1] / "pcaps" / "evenings"
LABELS = [(network, f"*-network-{network}*") for network in "abc"]


def groups(folder: Path) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
    """{"evening" or the name of a twin: [(capture, index)]}."""
    out: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for path in sorted(folder.glob("*.json")):
        index = json.loads(path.read_text("utf-8"))
        name = path.stem.partition("-network-")[0]
        out.setdefault("evening" if name.startswith("evening") else name, []).append((folder / index["file"], index))
    return out


def answer(captures: list[Path]) -> Answer:
    watch = Watch(labels=LABELS)
    for path in captures:
        watch.begin(str(path))
        with scan(str(path), counted=watch.batch) as opened:
            for finding in opened:
                watch.finding(finding)  # type: ignore[arg-type]
            watch.end(opened.summary, opened.failed)
    return watch.answer()


def expected(indexes: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(date, network, target) of each event that the indexes tell of."""
    table = Targets()
    for index in indexes:
        evening = index["evening"]
        network = index["file"].partition("-network-")[2][0]
        for name in evening["targets"]:
            yield evening["date"], network, table.all[table.find(name.encode())].id


def told(answer: Answer) -> set[tuple[str, str, str]]:
    """(date, network, target) of each event in an assessment of targeted interference."""
    mine = {ident for one in answer.assessments if one.cause == "targeted_interference" for ident in one.events}
    out = set()
    for event in answer.events:
        at = event.onset or event.end
        if event.id in mine and at is not None:
            out.add(((at.to_dict()["at"] or "")[:10], event.network, event.target))
    return out


def main() -> int:
    good = True
    for name, members in groups(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER).items():
        result = answer([path for path, _ in members])
        causes = sorted({one.cause for one in result.assessments})
        truth = {index["evening"]["cause"] for _, index in members}
        print(f"{name}: {len(members)} captures; cause {', '.join(causes) or 'none told'}; true {', '.join(truth)}")
        for one in result.assessments:
            print(f"  {one.statement}")
        if name == "evening":
            wanted = set(expected([index for _, index in members]))
            have = told(result)
            print(f"  events {len(wanted & have)} of {len(wanted)}, others {len(have - wanted)}")
            for date in sorted({date for date, _, _ in wanted}):
                for network in "abc":
                    mine = [target for day, net, target in sorted(have) if (day, net) == (date, network)]
                    print(f"  {date} {network}: {', '.join(mine) or 'none'}")
            good &= not have - wanted
        good &= set(causes) <= truth
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
