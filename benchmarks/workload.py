"""The captures that are measured: recordings of the repository, and generated ones of any length.

Recordings are real traffic, but short; the generator makes long captures whose truth is known, byte-identical by
profile, length and seed.  Generated files live in a folder for temporary files and never in the repository.
What is not there is absent with a word of why (AbsentError), not an error: the corpus is not part of the repository.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

REPOSITORY = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("TAMPERSCOPE_CORPUS", REPOSITORY.parent / "shared"))
GENERATOR = CORPUS / "bench" / "bench_gen.py"
PROFILES = ("web", "small", "censored")
SEED = 1


class AbsentError(Exception):
    """A capture that cannot be had here, and why."""


@dataclass(frozen=True)
class Capture:
    """A capture on disk; truth is what the generator says, where it made the file."""

    name: str
    path: Path
    packets: int  # records in the file
    seed: int | None = None
    truth: dict[str, Any] | None = None


def cache_folder() -> Path:
    """Where generated captures are kept between runs: TAMPERSCOPE_BENCH_CACHE, or a folder for temporary files."""
    folder = Path(os.environ.get("TAMPERSCOPE_BENCH_CACHE", Path(tempfile.gettempdir()) / "tamperscope-bench"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def recorded_names() -> list[str]:
    """Names of the recordings in the repository."""
    return sorted(path.name for path in (REPOSITORY / "pcaps").glob("*.pcap*") if path.suffix in (".pcap", ".pcapng"))


def recorded(name: str) -> Capture:
    """A recording of the repository by file name."""
    path = REPOSITORY / "pcaps" / name
    if not path.is_file():
        raise AbsentError(f"pcaps/{name} is not recorded yet")
    return Capture(name, path, count_records(path))


def generated(profile: str, packets: int, *extra: str, seed: int = SEED) -> Capture:
    """A capture of the generator, made once; extra: more of the generator's options."""
    if not GENERATOR.is_file():
        raise AbsentError(f"no bench/{GENERATOR.name} in the corpus: set TAMPERSCOPE_CORPUS to the folder that has it")
    suffix = "".join("-" + word.lstrip("-") for word in extra)
    label = f"{profile}-{packets}-{seed}{suffix}"
    path = cache_folder() / f"{label}.{'pcapng' if '--pcapng' in extra else 'pcap'}"
    truth = path.with_suffix(".json")
    if not (path.is_file() and truth.is_file()):
        _generate(path, truth, ["--profile", profile, "--packets", str(packets), "--seed", str(seed), *extra])
    told = json.loads(truth.read_text(encoding="utf-8"))
    return Capture(label, path, int(told["packets"]), seed, told)


def _generate(path: Path, truth: Path, options: list[str]) -> None:
    """Run the generator into files that appear only when they are complete."""
    part, part_truth = path.with_suffix(".part"), truth.with_suffix(".part-truth")
    command = [sys.executable, str(GENERATOR), str(part), *options, "--truth", str(part_truth)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        part.unlink(missing_ok=True)
        raise AbsentError(f"the generator failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    told = json.loads(part_truth.read_text(encoding="utf-8"))
    told["interfered"] = len(told["interfered"])
    truth.write_text(json.dumps(told), encoding="utf-8")
    part_truth.unlink()
    part.replace(path)


def prefix(capture: Capture, packets: int) -> Capture:
    """The first records of a capture as a file of its own, for tools that are too slow for all of it."""
    if packets >= capture.packets:
        return capture
    path = cache_folder() / f"{capture.path.stem}-first-{packets}{capture.path.suffix}"
    if not path.is_file() or path.stat().st_mtime < capture.path.stat().st_mtime:
        part = path.with_suffix(".part")
        with capture.path.open("rb") as source, part.open("wb") as target:
            _copy(source, target, _end_of(capture.path, packets))
        part.replace(path)
    return replace(capture, name=f"{capture.name}, first {packets:,}", path=path, packets=packets, truth=None)


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    """Copy the first length bytes."""
    while length > 0:
        piece = source.read(min(length, 1 << 20))
        if not piece:
            return
        target.write(piece)
        length -= len(piece)


def clear_cache() -> None:
    """Remove every generated capture."""
    shutil.rmtree(cache_folder(), ignore_errors=True)


# ---------------------------------------------------------------- records of a file, without decoding them


def count_records(path: Path) -> int:
    """Number of packet records in a pcap or pcapng file."""
    return sum(1 for _ in _record_ends(path))


def _end_of(path: Path, packets: int) -> int:
    """Offset behind record number packets, which counts from 1."""
    for number, end in enumerate(_record_ends(path), 1):
        if number == packets:
            return end
    return path.stat().st_size


def _record_ends(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        yield from _pcapng_ends(file) if magic == b"\x0a\x0d\x0d\x0a" else _pcap_ends(file)


def _pcap_ends(file: BinaryIO) -> Iterator[int]:
    header = file.read(24)
    order = "<" if header[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    end = 24
    while len(record := file.read(16)) == 16:
        end += 16 + struct.unpack_from(order + "I", record, 8)[0]
        file.seek(end)
        yield end


def _pcapng_ends(file: BinaryIO) -> Iterator[int]:
    order, end = "<", 0
    while len(block := file.read(12)) == 12:
        if block[:4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if block[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
        kind, length = struct.unpack_from(order + "II", block)
        end += length
        file.seek(end)
        if kind in (2, 3, 6):  # packet, simple packet, enhanced packet
            yield end
