"""`pcap-scan signatures`: the catalogue as a reader meets it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tamperscope import catalogue, cli, weigh

COMMAND = [sys.executable, "-m", "tamperscope.cli", "signatures"]


def printed(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli.main(["signatures", *argv]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_overview_names_every_entry(capfd: pytest.CaptureFixture[str]) -> None:
    """Each id once, each mechanism once, within 80 columns."""
    text = printed(capfd)
    ids = [line.split()[0] for line in text.splitlines() if line[:2] == "  " and line[2:3].strip()]
    known = catalogue.load()
    assert sorted(id for id in ids if id in known) == sorted(one.id for one in known)
    mechanisms = [line for line in text.splitlines() if line in catalogue.MECHANISMS]
    assert len(mechanisms) == len(set(mechanisms)) >= 3
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("one", catalogue.load(), ids=lambda one: one.id)
def test_entry_has_everything(one: catalogue.Signature, capfd: pytest.CaptureFixture[str]) -> None:
    """Predicate, weights with their reasons, sources with how well they were read, look-alikes with what separates."""
    text = squeezed(printed(capfd, one.id))
    weights = weigh.load()
    assert squeezed(one.title) in text and squeezed(one.predicate) in text
    for id in one.evidence:
        entry = weights.of(one.mechanism, id)
        assert f"{id} {entry.weight:+.1f}" in text and squeezed(entry.why) in text
    for source in one.sources:
        assert squeezed(f"{source.title}, {source.year}. {source.where}") in text
    for other in one.look_alikes:
        assert squeezed(other.what) in text and squeezed(f"told apart: {other.separates}") in text


def test_every_evidence_of_findings_is_found(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever reads an id in a finding can ask what it is."""
    for mechanism, id in weigh.load().entries:
        text = printed(capfd, id)
        assert id in text and mechanism in text and "why:" in text


def test_mechanism(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd, "dns_forgery")
    assert text.startswith("dns_forgery\n") and "rst_injection" not in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["data_after_rest"], "near: data_after_reset"),
        (["\x1b[31m"], "no entry '\\x1b[31m'"),
        (["a", "b"], "takes one ID"),
        (["--json"], "unknown option"),
    ],
)
def test_wrong_usage(argv: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["signatures", *argv]) == 2
    out, err = capfd.readouterr()
    assert out == "" and said in err


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert "usage: pcap-scan signatures [ID]" in printed(capfd, "--help")


def test_a_file_of_that_name_is_a_capture_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    """./signatures is a path."""
    assert cli.main(["./signatures"]) == 3
    assert "no such file" in capfd.readouterr().err


@pytest.mark.parametrize("width", ["40", "60", "110"])
def test_narrow_and_wide(width: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    for argv in ([], ["reset_before_rtt"]):
        for line in printed(capfd, *argv).splitlines():
            assert len(line) <= int(width) or len(max(line.split(), key=len)) > 20, line


def test_full_disk_and_closed_pipe() -> None:
    with pathlib.Path("/dev/full").open("w") as full:
        done = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5 and "no space left" in done.stderr
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(20) == 0
