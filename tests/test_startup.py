"""What a plain scan imports: little, because a small capture is judged in less time than numpy takes to load."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

import build
from corpus import DEMO, generated, needs_generator
from tamperscope.catalogue import rules_id
from tamperscope.scan import scan

HEAVY = {
    "numpy", "dataclasses", "inspect", "hashlib", "typing", "tomllib", "scapy", "dpkt", "argparse", "json", "re",
    "enum", "pathlib", "functools", "collections", "logging", "tempfile", "threading", "subprocess", "socket", "gzip",
    "zipfile", "cffi", "pycparser", "ctypes", "signal", "datetime", "random", "asyncio", "importlib.resources",
    "importlib.metadata",
}  # fmt: skip
JUDGING = {"fingerprint", "fingerprinters", "weigh", "judge", "capture"}
PROGRAM = """
import sys
before = set(sys.modules)
{code}
print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
"""
SCAN = """
import tamperscope
with open({path!r}, "rb"):
    scan = tamperscope.scan({path!r})
found = list(scan)
assert scan.summary.frames and scan.summary.candidates == {candidates}, scan.summary
scan.notices, scan.summary.to_dict(), scan.close()
"""
COMMAND = """
from tamperscope.cli import main
assert main({argv!r}) == 0
"""


def loaded(code: str) -> set[str]:
    """Modules that the code loads, in a process of its own with nothing of the user's around it."""
    argv = [sys.executable, "-I", "-X", "utf8", "-c", PROGRAM.format(code=code)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stderr.split())


def ours(modules: set[str]) -> set[str]:
    return {name.removeprefix("tamperscope.") for name in modules if name.startswith("tamperscope.")}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A handshake, a request, an answer, a close, and a DNS question."""
    path = tmp_path_factory.mktemp("startup") / "small.pcap"
    path.write_bytes(build.pcap(build.web() + build.lookup(start=1.0)))
    return path


def test_import_loads_nothing_but_itself() -> None:
    """Not even the core: whoever only asks for the version or an exception pays for neither."""
    assert loaded("import tamperscope; tamperscope.__version__") - {"__future__"} == {"tamperscope"}
    assert ours(loaded("import tamperscope; tamperscope.CaptureError")) == {"errors"}


def test_names_load_where_they_are_used() -> None:
    """Every public name is found, and a wrong one is an AttributeError."""
    code = "import tamperscope as t\nassert all(hasattr(t, n) for n in t.__all__) and not hasattr(t, 'nothing')"
    assert "numpy" in loaded(code)


@pytest.mark.parametrize("first", ["", "import tamperscope.scan", "from tamperscope.scan import Scan"])
def test_scan_is_the_function(first: str) -> None:
    """Whatever was imported before: a module of the same name stands behind it."""
    loaded(f"import tamperscope\n{first}\nassert tamperscope.scan.__class__.__name__ == 'function'")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_command_on_a_small_capture(small: pathlib.Path, form: list[str]) -> None:
    modules = loaded(COMMAND.format(argv=[*form, str(small)]))
    assert not modules & HEAVY and not ours(modules) & JUDGING


def test_scan_of_a_small_capture(small: pathlib.Path) -> None:
    modules = loaded(SCAN.format(path=str(small), candidates=0))
    assert not modules & HEAVY and not ours(modules) & JUDGING


@needs_generator
def test_scan_of_ordinary_traffic(tmp_path: pathlib.Path) -> None:
    """A thousand packets of TLS, HTTP, DNS and QUIC hold no candidate, and load nothing heavy."""
    path = generated(tmp_path, "web", 1000)
    for code in (SCAN.format(path=str(path), candidates=0), COMMAND.format(argv=[str(path)])):
        modules = loaded(code)
        assert not modules & HEAVY and not ours(modules) & JUDGING


def test_candidates_load_what_judges_them() -> None:
    """The check can fail: where there is something to judge, numpy is there."""
    modules = loaded(COMMAND.format(argv=["--json", str(DEMO)]))
    assert "numpy" in modules and ours(modules) >= {"fingerprint", "fingerprinters", "weigh", "judge"}
    assert not modules & {"scapy", "dpkt", "pycparser"}


def test_rules_are_those_of_the_catalogue(small: pathlib.Path) -> None:
    """One checksum over all data files, signatures too, whoever asks for it."""
    taken = scan(str(small))
    assert list(taken) == [] and taken.summary.rules == rules_id()
