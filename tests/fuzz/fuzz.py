"""
Build, run, replay and measure the fuzz targets of the C core.

    fuzz.py run        clang and libFuzzer: FUZZ_SECONDS a target, new inputs in build/fuzz/found
    fuzz.py replay     gcc, ASan and UBSan: the committed corpus and all past failures
    fuzz.py coverage   gcc: lines of csrc that the committed corpus reaches
    fuzz.py minimise   merge what was found into the committed corpus
    fuzz.py planted    plant each fault of planted/ and see that its target finds it
    fuzz.py total      CPU time and executions of all sessions so far
    fuzz.py seeds      write the inputs that a run starts from (also done by `run`)

Targets can be named after the command; without names all are meant.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import seeds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "fuzz"
CORPUS = HERE / "corpus"
FAILURES = HERE / "failures"
PLANTED = HERE / "planted"

TARGETS = [path.stem for path in sorted(HERE.glob("f_*.c"))]
SHARED = ["fuzz.c", "scan.c", "reader.c", "frame.c"]
MAX_LENGTH = {
    "f_feed": 6008, "f_pcap": 2048, "f_pcapng": 2048, "f_tcp": 4096, "f_tls": 4096, "f_answer": 4096, "f_quic": 4096,
}  # fmt: skip
LARGEST_CORPUS = 3 << 20
GOAL = 85
SLOW = 5  # seconds of CPU for one input

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-DTSCOPE_FAULTS", "-g"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
COVER = "-fsanitize=fuzzer-no-link"
KINDS = {
    "libfuzzer": ("clang", ["-O1", *SANITIZE, COVER], ["-fsanitize=fuzzer"]),
    "replay": ("gcc", ["-O1", *SANITIZE], []),
    "coverage": ("gcc", ["-O0", "--coverage"], []),
}
ENVIRONMENT = {
    "ASAN_OPTIONS": "allocator_may_return_null=1:quarantine_size_mb=16:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT}


# ---------------------------------------------------------------- building


def compile_all(compiler: str, jobs: Iterable[tuple[Path, Path]], flags: list[str]) -> None:
    def one(job: tuple[Path, Path]) -> None:
        source, out = job
        subprocess.run([compiler, *flags, "-c", str(source), "-o", str(out)], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, jobs))


def is_older(path: Path, than: float) -> bool:
    return not path.exists() or path.stat().st_mtime <= than


def build(kind: str, targets: list[str], csrc: Path = ROOT / "csrc", into: Path | None = None) -> Path:
    """Objects and programs of one kind; gives the folder that holds them."""
    compiler, compile_flags, link_flags = KINDS[kind]
    folder = into or BUILD / kind
    folder.mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS, *compile_flags, f"-I{csrc}", f"-I{HERE}"]
    core = {source: folder / f"core-{source.stem}.o" for source in sorted(csrc.glob("*.c"))}
    names = [*SHARED, *(f"{target}.c" for target in targets), *([] if kind == "libfuzzer" else ["standalone.c"])]
    ours = {HERE / name: folder / f"{Path(name).stem}.o" for name in names}
    headers = [*csrc.glob("*.h"), *csrc.glob("*.def"), *HERE.glob("*.h"), Path(__file__)]
    changed = max(path.stat().st_mtime for path in headers)
    jobs = [job for job in (*core.items(), *ours.items()) if is_older(job[1], max(changed, job[0].stat().st_mtime))]
    compile_all(compiler, [job for job in jobs if job[0] in core], flags)
    # What the targets share is no part of what is to be covered, and folds many bytes.
    plain = [flag for flag in flags if flag != COVER]
    compile_all(compiler, [job for job in jobs if job[0] in ours and job[0].name in SHARED], [*plain, *WARNINGS])
    compile_all(compiler, [job for job in jobs if job[0] in ours and job[0].name not in SHARED], [*flags, *WARNINGS])
    common = [str(core[source]) for source in core]
    common += [str(ours[HERE / name]) for name in names if not name.startswith("f_")]
    for target in targets:
        program = folder / target
        if not jobs and program.exists():
            continue
        objects = [str(ours[HERE / f"{target}.c"]), *common]
        subprocess.run([compiler, *compile_flags, *link_flags, *objects, "-o", str(program), *libraries()], check=True)
    return folder


def libraries() -> list[str]:
    return ["-lpthread", "-ldl"]


# ---------------------------------------------------------------- running


def limits(target: str) -> list[str]:
    return [
        "-malloc_limit_mb=256",
        "-rss_limit_mb=1024",
        "-timeout=10",
        f"-max_len={MAX_LENGTH.get(target, 1024)}",
        f"-dict={HERE / 'tokens.dict'}",
        "-print_final_stats=1",
        "-entropic=0",  # its bookkeeping costs a fifth of the time here, and finds no more
    ]


def figure(log: str, name: str) -> int:
    found = re.findall(rf"stat::{name}:\s+(\d+)", log)
    return int(found[-1]) if found else 0


def telling(report: str) -> list[str]:
    """The lines of a report that say what and where, without libFuzzer's own frames."""
    what = re.compile(r"does not hold|runtime error|ERROR: |SUMMARY|^\s+#\d+ .*(csrc|tests/fuzz)/|ALARM")
    return [line for line in report.splitlines() if what.search(line)][:40]


def is_starved(program: Path, work: Path, known: set[Path]) -> bool:
    """Whether all that is new is inputs that took long only because other programs had the processor."""
    found = sorted(set(work.iterdir()) - known)
    for path in found:
        if not path.name.startswith("timeout-"):
            return False
        before = os.times()
        subprocess.run([str(program), "-timeout=300", str(path)], capture_output=True, env=environment(), cwd=work)
        if os.times().children_user - before.children_user > SLOW:
            return False
    for path in found:
        path.unlink()
    return bool(found)


def run_one(program: Path, target: str, seconds: int, folders: list[Path], work: Path) -> bool:
    """One session of libFuzzer; False where it found something, which lies in `work` then."""
    work.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    command = [str(program), *limits(target), f"-max_total_time={seconds}", f"-artifact_prefix={work}/"]
    known = set(work.iterdir())
    before = os.times()
    done = subprocess.run(
        [*command, *map(str, folders)], capture_output=True, text=True, errors="replace", env=environment(), cwd=work
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    covered = re.findall(r"cov: (\d+)", done.stderr)
    executions = figure(done.stderr, "number_of_executed_units")
    record = {"target": target, "cpu": round(cpu, 1), "executions": executions, "status": done.returncode}
    with (BUILD / "sessions.jsonl").open("a") as log:
        log.write(json.dumps(record) + "\n")
    print(f"{target:10} {cpu:7.1f} s CPU {executions:10} runs  {covered[-1] if covered else '?':>5} edges", flush=True)
    if done.returncode and "run interrupted" not in done.stderr and not is_starved(program, work, known):
        (work / "report.txt").write_text(done.stderr)
        print("\n".join(telling(done.stderr)))
        print(f"{target}: found something; report and input in {work}", flush=True)
        return False
    return True


def run(targets: list[str], seconds: int, captures: list[Path]) -> int:
    folder = build("libfuzzer", targets)
    # What grows out of captures that are not ours stays apart and is never merged into the corpus.
    found = BUILD / ("found-foreign" if captures else "found")
    good = True
    for target in targets:
        start = BUILD / ("seeds-foreign" if captures else "seeds")
        seeds.write(start, [*captures, ROOT / "pcaps"], [target])
        places = [found / target, CORPUS / target, start / target, BUILD / "found" / target]
        good &= run_one(folder / target, target, seconds, list(dict.fromkeys(places)), BUILD / "reports" / target)
    return 0 if good else 1


def total() -> int:
    """What the sessions took, target by target."""
    sums: dict[str, list[float]] = {}
    for line in (BUILD / "sessions.jsonl").read_text().splitlines():
        session = json.loads(line)
        for target in (session["target"], "all"):
            entry = sums.setdefault(target, [0, 0, 0])
            entry[0] += session["cpu"]
            entry[1] += session["executions"]
            entry[2] += 1
    for target, (cpu, executions, sessions) in sorted(sums.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"{target:10} {cpu:8.0f} s CPU {executions:12.0f} runs {sessions:5.0f} sessions")
    return 0


# ---------------------------------------------------------------- replaying


def replay(targets: list[str]) -> int:
    folder = build("replay", targets)
    good = True
    for target in targets:
        places = [place / target for place in (CORPUS, FAILURES) if (place / target).is_dir()]
        begin = time.monotonic()
        command = [str(folder / target), *map(str, places)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment())
        print(f"{target:10} {done.stdout.strip() or 'failed'} in {time.monotonic() - begin:.1f} s")
        if done.returncode:
            print(done.stderr)
            good = False
    return 0 if good else 1


def coverage(targets: list[str]) -> int:
    folder = BUILD / "coverage"
    shutil.rmtree(folder, ignore_errors=True)
    build("coverage", targets)
    for target in targets:
        if (CORPUS / target).is_dir():
            subprocess.run([str(folder / target), str(CORPUS / target)], check=True, stdout=subprocess.DEVNULL)
    reached_all, lines_all = 0, 0
    for data in sorted(folder.glob("core-*.gcda")):
        reached, lines, missing = lines_of(data, folder)
        share = 100 * reached / max(lines, 1)
        print(f"{data.stem[5:] + '.c':18} {reached:5} of {lines:5} lines  {share:5.1f} %  {missing}")
        reached_all += reached
        lines_all += lines
    share = 100 * reached_all / max(lines_all, 1)
    print(f"{'all':18} {reached_all:5} of {lines_all:5} lines  {share:5.1f} %  (goal {GOAL} %)")
    return 0 if share >= GOAL else 1


def lines_of(data: Path, folder: Path) -> tuple[int, int, str]:
    """Lines reached, lines there are, and the first ones that were not; known answers of the self-test do not count."""
    out = subprocess.run(["gcov", "--json-format", "--stdout", str(data)], capture_output=True, cwd=folder, check=True)
    name = data.stem[5:] + ".c"
    reached: dict[int, bool] = {}
    if name == "selftest.c":
        return 0, 0, "(not counted)"
    for document in out.stdout.splitlines():
        for file in json.loads(document)["files"]:
            if Path(file["file"]).name == name:
                for line in file["lines"]:
                    number = line["line_number"]
                    reached[number] = reached.get(number, False) or line["count"] > 0
    missing = [number for number, there in sorted(reached.items()) if not there]
    shown = ",".join(map(str, missing[:12])) + ("..." if len(missing) > 12 else "")
    return sum(reached.values()), len(reached), shown


# ---------------------------------------------------------------- the committed corpus


def minimise(targets: list[str]) -> int:
    folder = build("libfuzzer", targets)
    for target in targets:
        sources = [CORPUS / target, BUILD / "found" / target, BUILD / "seeds" / target]
        with tempfile.TemporaryDirectory() as merged:
            places = [merged, *(str(place) for place in sources if place.is_dir())]
            subprocess.run(
                [str(folder / target), "-set_cover_merge=1", *limits(target), *places],
                check=True,
                env=environment(),
                stderr=subprocess.DEVNULL,
                cwd=merged,
            )
            shutil.rmtree(CORPUS / target, ignore_errors=True)
            shutil.copytree(merged, CORPUS / target)
        sizes = [path.stat().st_size for path in (CORPUS / target).iterdir()]
        print(f"{target:10} {len(sizes):5} inputs {sum(sizes):8} bytes")
    total = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
    print(f"all        {total} bytes (at most {LARGEST_CORPUS})")
    return 0 if total <= LARGEST_CORPUS else 1


# ---------------------------------------------------------------- planted faults


def planted(names: list[str], seconds: int) -> int:
    """Each patch names its target in its first line: "target: f_dns - what was planted"."""
    good = True
    for patch in sorted(PLANTED.glob("*.patch")):
        if names and patch.stem not in names:
            continue
        target = patch.read_text().splitlines()[0].removeprefix("target: ").split(" ")[0]
        with tempfile.TemporaryDirectory() as place:
            good &= plant(patch, target, Path(place), seconds)
    return 0 if good else 1


def plant(patch: Path, target: str, place: Path, seconds: int) -> bool:
    shutil.copytree(build("libfuzzer", [target]), place / "build")
    shutil.copytree(ROOT / "csrc", place / "csrc")
    done = subprocess.run(["patch", "-p1", "-F3", "-s", "-i", str(patch)], cwd=place, capture_output=True, text=True)
    if done.returncode:
        print(f"{patch.stem:28} does not apply to csrc as it is: {done.stdout.strip()}")
        return False
    folder = build("libfuzzer", [target], place / "csrc", place / "build")
    work = place / "work"
    work.mkdir()
    command = [str(folder / target), *limits(target), f"-max_total_time={seconds}", "-artifact_prefix=./", "."]
    begin = time.monotonic()
    if (CORPUS / target).is_dir():
        command.append(str(CORPUS / target))
    run = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace", env=environment())
    took = time.monotonic() - begin
    what = re.findall(r"SUMMARY: (\S+ \S+)|does not hold: (.*)|runtime error: (.*)", run.stderr)
    found = run.returncode != 0 and took <= seconds + 5
    told = next((part for hit in what for part in hit if part), "nothing")
    runs = figure(run.stderr, "number_of_executed_units")
    verdict = "found" if found else "MISSED"
    print(f"{patch.stem:28} {target:9} {verdict} in {took:5.1f} s, {runs} runs: {told}", flush=True)
    return found


# ---------------------------------------------------------------- the command


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "replay", "coverage", "minimise", "planted", "total", "seeds"])
    parser.add_argument("names", nargs="*", help="targets (planted: names of patches)")
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "60")))
    parser.add_argument("--captures", type=Path, action="append", default=[], help="folders of captures to start from")
    given = parser.parse_intermixed_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if given.command == "total":
        return total()
    if given.command == "planted":
        return planted(given.names, given.seconds)
    targets = given.names or TARGETS
    if given.command == "seeds":
        seeds.write(BUILD / "seeds", [*given.captures, ROOT / "pcaps"], targets)
        return 0
    if given.command == "run":
        return run(targets, given.seconds, given.captures)
    return {"replay": replay, "coverage": coverage, "minimise": minimise}[given.command](targets)


if __name__ == "__main__":
    sys.exit(main())
