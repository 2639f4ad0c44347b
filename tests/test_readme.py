"""The README's promises: its programs run as printed, and its output is the real one."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(program: str) -> str:
    """Output of a program, run from the project's folder."""
    before, output = pathlib.Path.cwd(), io.StringIO()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(program, "README.md", "exec"), {"__name__": "readme"})
    finally:
        os.chdir(before)
    return output.getvalue()


def test_library_example() -> None:
    """The first program prints findings of all three mechanisms and the counts of packets and flows."""
    output = run(PROGRAMS[0])
    for mechanism in ("rst_injection confirmed", "sni_drop", "dns_forgery confirmed", "packets,", "577 flows"):
        assert mechanism in output


def test_frames_example() -> None:
    """Two frames with their bytes, and as many findings in packets that are fed in as in the file."""
    lines = run(PROGRAMS[1]).splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["1867", "1871"] and lines[2].endswith(" findings")
    assert int(lines[2].split()[0]) == len(run(PROGRAMS[0]).splitlines()) - run(PROGRAMS[0]).count("packets,") - 1


def test_own_fingerprinter() -> None:
    """The fingerprinter of the README finds the four IPv4 triplets of the recording and nothing else."""
    lines = run(PROGRAMS[2]).splitlines()
    assert len(lines) == 4
    assert all("library.example" in line and "3 resets with one IP ID" in line for line in lines)


def test_demo_output() -> None:
    """What the README shows of `make demo` is how the command's output begins."""
    shown = re.search(r"<!-- demo.*?```text\n(.*?)\.\.\.\n```", README, re.DOTALL)
    assert shown is not None
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    real = subprocess.run(
        [sys.executable, "-m", "tamperscope.cli", "pcaps/demo.pcap"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=True,
    ).stdout
    assert real.startswith(shown[1].rstrip())


def test_explain_output() -> None:
    """Likewise of `pcap-scan explain`."""
    shown = re.search(r"<!-- explain.*?```text\n(.*?)\.\.\.\n```", README, re.DOTALL)
    assert shown is not None
    argv = [sys.executable, "-m", "tamperscope.cli", "explain", "pcaps/demo.pcap", "--frame", "1871"]
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    real = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=environment, check=True).stdout
    assert real.startswith(shown[1].rstrip())


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links(link: str) -> None:
    """Links lead to files that exist."""
    assert (ROOT / link).exists()
