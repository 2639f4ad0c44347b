#!/usr/bin/env python3
"""Records the collection again: pcaps/interference and pcaps/innocent, with their indexes. Run as root.

    python3 pcaps/record/all.py [--only NAME]... [--jobs N] [--seed N] [--output FOLDER] [--list]

Each recording is a process of its own with its own net, takes under two minutes, and is installed only when its
captures, its logs and the independent check agree. What a kernel or a machine lacks is said and skipped. Exit status 1
when a recording failed, 2 when none can be made here.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import collection  # noqa: F401  # fills COLLECTION
from capture import records, tool_version
from net import PREFIX, TOOLS, Unable, require, sweep
from packet import FlowKey
from scenario import CLIENTS, COLLECTION, SEED, SERVERS, Output, Scenario, draw
from truth import Broken, Event

HERE = Path(__file__).resolve().parent
LIMIT = 360  # seconds for one recording; most need half a minute
TRIES = 2
PLAIN = 128 * 1024  # larger files are written compressed
SIZE = 2 * 1024 * 1024


def lines(path: Path) -> list[Event]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def index(scenario: Scenario, output: Output, path: Path, found: list[dict[str, Any]], counts: Any) -> dict[str, Any]:
    from containers import describe

    counted = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "source": {
            "repository": "tamperscope",
            "path": f"pcaps/record/all.py --only {scenario.name}",
            "licence": "CC0-1.0",
            "trim": "whole file",
            "container": output.container,
            "point": output.point,
            "edits": describe(output.edits),
            **scenario.facts(),
            "tools": [tool_version("tcpdump", "--version"), tool_version("curl", "-V").partition(" (")[0]],
        },
        "class": scenario.mechanism,
        "quality": min((label["quality"] for label in found), default="A"),
        "vantage": output.vantage,
        "country_or_setting": "laboratory: network namespaces, user-space path, a censoring router",
        "flows": found,
        "other_flows": "innocent",
        "summary": f"{scenario.about} Counts: {counted}.",
        **({"evening": scenario.story} if scenario.story else {}),
    }


def one(name: str, seed: int, target: Path, keep: Path | None) -> int:
    """Records one scenario in this process."""
    require(TOOLS, ["curl_cffi", "cryptography"])
    import compare  # after `require`: these need PyPI packages
    import containers
    import evenings
    import stage

    scenario = draw(name, seed)
    clients = {address for pair in CLIENTS.values() for address in pair} | {stage.NAT}
    clients |= {address for more in scenario.aliases.values() for address in more}
    by_address = {address: server for server, pair in SERVERS.items() for address in pair}
    with tempfile.TemporaryDirectory(prefix=PREFIX) as temporary:
        folder = Path(temporary)
        try:
            workers, captures = stage.record(scenario, folder)
            raw = {point: records(path) for point, path in captures.items()}

            def hops(point: str, server: str) -> int:
                return stage.hops(scenario, point, by_address.get(server, "s1"))

            def frames(link: int, kept: Any) -> list[Any]:
                made = (compare.frame(number, record, link) for number, record in enumerate(kept, 1))
                return [frame for frame in made if frame is not None]

            events = lines(folder / "boxes.near.jsonl") + lines(folder / "boxes.far.jsonl")
            ends = {side: frames(*raw[side]) for side in ("client", "server")}
            comparison = compare.Comparison(ends, clients, lambda server: hops("server", server), events)
            if not scenario.tools:
                comparison.agree()
            said: dict[FlowKey, set[str]] = collections.defaultdict(set)
            for server in scenario.odd:
                for line in lines(folder / f"odd.{server}.log"):
                    if "client" in line:
                        said[("tcp", *line["client"], *line["server"])].add(line["action"])
            ready = folder / "ready"
            ready.mkdir()
            rng = random.Random(scenario.seed + 9)
            for output in scenario.outputs:
                link, kept = raw[output.point]
                for edit in output.edits:
                    kept = edit.apply(kept, link, rng)
                snap = next((e.size for e in output.edits if isinstance(e, containers.Snap | evenings.Evening)), 0)
                doubled = output.point == "any" or any(isinstance(e, containers.Mirror) for e in output.edits)

                def offset(side: str, server: str, point: str = output.point, two: bool = doubled) -> tuple[int, ...]:
                    """TTL at this point, less the TTL at the end that got the packet."""
                    there = hops(point, server) if side == "client" else hops("server", server) - hops(point, server)
                    return (there, there - 1) if two else (there,)

                view = compare.View(output.vantage, frames(link, kept), comparison, offset)
                if scenario.story:  # frames were matched by true times; controls count by those of the evening
                    for frame in (f for flow in view.flows.values() for f in flow.frames):
                        frame.time += kept[frame.number - 1].shift_ns / 1e9
                view.one_way = any(isinstance(e, containers.OneWay) for e in output.edits)
                view.cut = snap if 0 < snap < 200 else 0
                found, counts = compare.labels(
                    view, scenario.jobs, workers.results, scenario.rules, said, scenario.blanket
                )
                stem = ready / f"{scenario.name}{output.suffix}"
                path = containers.write(stem, link, kept, output.container, snap)
                if path.stat().st_size > PLAIN and not path.name.endswith(".gz"):
                    path.unlink()
                    output.container += ".gz"
                    path = containers.write(stem, link, kept, output.container, snap)
                document = index(scenario, output, path, found, counts)
                (ready / f"{scenario.name}{output.suffix}.json").write_text(
                    json.dumps(document, indent=1, ensure_ascii=False) + "\n"
                )
                print(f"{path.name}: {path.stat().st_size // 1024} KiB. {document['summary'].partition('Counts: ')[2]}")
                if path.stat().st_size > SIZE:
                    raise Broken(f"{path.name} is larger than {SIZE} bytes")
                if scenario.kind == "interference" and output is scenario.outputs[0] and not any(
                    label["expected"] == scenario.mechanism for label in found
                ):  # fmt: skip
                    raise Broken(f"{path.name}: nothing was interfered with")
            command = [sys.executable, str(HERE / "check.py"), *map(str, sorted(ready.glob("*.json")))]
            if subprocess.run(command).returncode:
                raise Broken("the check does not agree with the index")
            target.mkdir(parents=True, exist_ok=True)
            for path in ready.iterdir():
                shutil.copyfile(path, target / path.name)
            done = sum(job["id"] in workers.results for job in scenario.jobs)
            print(f"{name}: {done} of {len(scenario.jobs)} jobs done", flush=True)
        except (Broken, RuntimeError) as error:
            print(f"{name}: recording failed: {error}", flush=True)
            return 1
        finally:
            if keep:
                shutil.copytree(folder, keep, dirs_exist_ok=True)
    return 0


def undecidable(output: Path) -> None:
    """How many flows of each mechanism have no proof and no control in their file."""
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for kind in {kind for kind, _, _ in COLLECTION.values()}:
        for path in sorted((output / kind).glob("*.json")):
            for label in json.loads(path.read_text())["flows"]:
                if label["expected"] not in ("none", "insufficient"):
                    table[label["expected"]][label["quality"]] += 1
    for mechanism, counts in sorted(table.items()):
        share = counts["C"] / counts.total()
        print(f"{mechanism}: A {counts['A']}, B {counts['B']}, C {counts['C']}: {share:.0%} undecidable")


def spawn(name: str, seed: int, output: Path, processor: int) -> tuple[str, int, str]:
    said = ""
    for _ in range(TRIES):  # a machine that stood still for a second spoils a recording; it is not bent into shape
        command = [sys.executable, str(Path(__file__).resolve()), "--one", name, "--seed", str(seed),
                   "--output", str(output), "--processor", str(processor)]  # fmt: skip
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _ = child.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                said, _ = child.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                said, _ = child.communicate()
            said += f"{name}: not done within {LIMIT} s\n"
        if child.returncode in (0, 2):
            break
    return name, child.returncode, said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="this recording only; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="so many recordings at once")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=HERE.parent)
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--processor", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    # So that the net is taken down; a shell starts its background jobs with the interrupt ignored.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if options.list:
        print("\n".join(COLLECTION))
        return 0
    try:
        if options.one:
            # Two processors stamp packets of one device some microseconds out of order; one does not.
            own = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {own[options.processor % len(own)]})
            folder = options.output / COLLECTION[options.one][0]
            return one(options.one, options.seed, folder, options.keep)
        require(TOOLS, ["curl_cffi", "cryptography"])
    except Unable as error:
        print(f"cannot record{' ' + options.one if options.one else ''}: {error}", file=sys.stderr)
        return 2
    unknown = set(options.only or ()) - set(COLLECTION)
    if unknown:
        parser.error(f"no such recording: {', '.join(sorted(unknown))}")
    sweep()
    names = options.only or list(COLLECTION)
    begin, failed, skipped = time.time(), [], []
    with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        tasks = [pool.submit(spawn, name, options.seed, options.output, n) for n, name in enumerate(names)]
        for task in tasks:
            name, status, said = task.result()
            print(said, end="", flush=True)
            if status == 2:
                skipped.append(name)
            elif status:
                failed.append(name)
    undecidable(options.output)
    print(f"{len(names) - len(failed) - len(skipped)} of {len(names)} recorded in {time.time() - begin:.0f} s")
    for word, which in (("skipped", skipped), ("failed", failed)):
        if which:
            print(f"{word}: {', '.join(which)}")
    return 1 if failed else 2 if skipped and len(skipped) == len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
