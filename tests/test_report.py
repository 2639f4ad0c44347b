"""`--report`: one HTML file that says no more than the answer does, and the manifest beside it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

import build
from corpus import DEMO
from tamperscope.answer import Answer, Assessment, Cells, Event, Feature, Group, Limit, Moment, Network, Target
from tamperscope.model import Evidence, Finding, Notice, Summary
from tamperscope.report.examples import Example, Examples
from tamperscope.report.html import page
from tamperscope.report.manifest import check
from tamperscope.report.timeline import MINUTE, Scale, bins
from tamperscope.report.zone import Zone

COMMAND = [sys.executable, "-m", "tamperscope.cli"]
EVENINGS = sorted((DEMO.parent / "evenings").glob("evening-*.pcap.gz"))
NASTY = "</title><script>alert(1)</script>\"'<img src=x onerror=alert(2)>&\u202e"
START = 1_705_755_600 * 10**9  # 2024-01-20 13:00 UTC
# What packets cannot show, whoever would like to read it.
NEVER = re.compile(
    r"\b(deliberate\w*|intention\w*|on purpose|government\w*|regime|state-sponsored|nationwide|censor\w*|lied|lying|"
    r"malicious\w*|attack\w*|guilty|criminal\w*|was blocked|were blocked|was down|were down|no blocking)\b",
    re.IGNORECASE,
)
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
needs_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium to look at the page with")


def run(*argv: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, argv)], capture_output=True, text=True, check=False, **more)


class Reader(HTMLParser):
    """Tags, attributes and text of a page; raises where tags do not close in order."""

    VOID = frozenset(("meta", "br", "link", "img", "input"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.content: dict[str, list[str]] = {}
        self.said: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        self.content.setdefault(tag, []).append(data)
        if tag not in ("script", "style"):
            self.said.append(data)

    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.said))


def a_finding(**more: Any) -> Finding:
    values: dict[str, Any] = {
        "id": "00" * 8, "capture": "/secret/folder/a.pcap", "flow": 1, "mechanism": "rst_injection",
        "verdict": "confirmed", "confidence": 0.999, "proof": "injected_frame", "time_ns": START, "proto": "tcp",
        "client": "192.0.2.77", "client_port": 4000, "server": "198.51.100.1", "server_port": 443,
        "name": b"x.example", "trigger_frame": 4, "injected_frames": [5], "genuine_frames": [6],
        "evidence": [Evidence("reset_ttl", "ttl", 1.0, [5], "the TTL differs")],
    }  # fmt: skip
    return Finding(**(values | more))


def an_answer(word: str = "X") -> Answer:
    """An answer with one of everything; `word` stands wherever text of others can."""
    out = Answer(version="1", rules="00000000")
    out.statements = [f"{word} failed."]
    out.first_ns, out.last_ns = START, START + 180 * MINUTE
    out.targets = [Target("other", "other names", "", "other"), Target("x", word, word, word)]
    out.networks = [Network(word, "file", [word], 3, first_ns=START, last_ns=START + 180 * MINUTE, minutes=180)]
    out.networks += [Network("still", "label")]
    series = Cells(word, "x", "attempt")
    first = START // MINUTE
    for minute in range(0, 180, 2):
        series.minute.append(first + minute)
        bad = 60 <= minute < 120
        for column, value in (("reached", 2), ("ok", 2 - 2 * bad), ("degraded", 0), ("down", 2 * bad), ("unknown", 0)):
            getattr(series, column).append(value)
        series.votes.append(2)
        series.failed.append(2 * bad)
        series.clients.append(2)
    out.cells = [series]
    onset = Moment(START + 60 * MINUTE, START + 58 * MINUTE, START + 62 * MINUTE)
    out.events = [
        Event(id="e", target="x", network=word, onset=onset, votes=60, failed=60, clients=3, failed_clients=3,
              mechanisms={"rst_injection": 60, word: 1}, limits=[word])
    ]  # fmt: skip
    feature = Feature("same_server", "g", 1.0, word, shift={"targeted_interference": 3.0, "transport_fault": -2.5})
    scores = {"targeted_interference": 0.99, "transport_fault": 0.01}
    out.assessments = [
        Assessment(id="a", events=["e"], targets=["x"], networks=[word], cause="targeted_interference", scores=scores,
                   statement=word, onset=onset, features=[feature], for_=["same_server"],
                   gates=[{"id": "votes", "passed": None, "text": word}], changes=[word], scope="site")
    ]  # fmt: skip
    group = Group("rst_injection")
    group.counts = {"confirmed": 1}
    group.by_target = {(word, "x"): 1}
    injector = {"hops_min": 3, "hops_max": 4, "family": [{"id": word, "score": 0.5}]}
    group.strongest = [a_finding(name=word.encode("utf-8"), injector=injector)]
    out.groups = [group]
    out.summaries = [Summary(word, version="1", rules="0", first_ns=START, last_ns=START + 180 * MINUTE)]
    out.limits = [Limit("code", word, 3)]
    return out


# ---------------------------------------------------------------- the page


def test_nothing_of_others_becomes_markup() -> None:
    """Names, titles, networks, facts, notices and options in every place of the page stay text."""
    fact = Evidence(NASTY, NASTY, 1.0, [5], NASTY)
    example = Example(a_finding(name=NASTY.encode(), capture=NASTY, evidence=[fact], against=[fact]))
    notes = [Notice("error", "code", NASTY, capture=NASTY)]
    html = page(an_answer(NASTY), [example], notices=notes, options={NASTY: NASTY})
    tags = Reader(html).tags
    assert [tag for tag, _ in tags if tag in ("img", "script", "style", "title")].count("script") == 1
    assert not [tag for tag, _ in tags if tag in ("img", "iframe", "object", "link", "base", "form", "foreignobject")]
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on") or key == "style"]
    assert "alert(1)" in html and "\u202e" not in html


def test_policy_admits_our_own_style_and_script_alone() -> None:
    reader = Reader(page(an_answer()))
    policy = next(a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        content = "".join(reader.content[tag])
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy and "://" not in content
    assert "unsafe" not in policy


def test_nothing_is_fetched() -> None:
    for _, attributes in Reader(page(an_answer())).tags:
        for key in ("src", "href", "data", "action", "poster", "srcset"):
            assert (attributes.get(key) or "#").startswith("#")


def test_said_first_is_the_answer() -> None:
    reader = Reader(page(an_answer("Platform")))
    at = [tag for tag, a in reader.tags if tag in ("p", "svg", "table", "dl") and a.get("aria-hidden") != "true"]
    assert at[0] == "p" and "Platform failed." in reader.content["p"][0]


def test_each_plot_has_words_and_a_table() -> None:
    """A plot is named, and the figures that it shows stand in a table of the same figure."""
    html = page(an_answer(), [_an_example()])
    figures = re.findall(r"<figure>.*?</figure>", html, re.DOTALL)
    assert len(figures) == 2
    for one in figures:
        assert re.search(r'<svg [^>]*aria-label="[^"]+"', one) and "<table>" in one and "<figcaption>" in one
    assert "60 of 60" in html and "not seen" in html


def test_client_addresses_and_folders_stay_out() -> None:
    html = page(an_answer(), [_an_example()])
    assert "192.0.2.77" not in html and "/secret" not in html and "198.51.100.1" in html


def test_forged_frames_are_marked_by_word_and_shape() -> None:
    html = page(an_answer(), [_an_example()])
    assert "FORGED" in html and 'class="wire false"' in html and "\u2715" in html


def test_same_answer_same_bytes() -> None:
    assert page(an_answer(), [_an_example()]) == page(an_answer(), [_an_example()])


def test_without_anything() -> None:
    """An answer that holds nothing still says so, and does not read as a clearance."""
    out = Answer(version="1", rules="0")
    out.statements = ["No event."]
    words = Reader(page(out)).words()
    assert "No event." in words and "no proof of the contrary" in words


def _an_example() -> Example:
    frames = build.pcap(build.forged_reset())
    chosen = Examples()
    import tamperscope as ts

    for finding in ts.scan(frames):
        if isinstance(finding, Finding):
            finding.capture, finding.client = "/secret/folder/a.pcap", finding.client
            chosen.note(finding)
    chosen.read(frames)
    assert chosen.all
    return chosen.all[0]


# ---------------------------------------------------------------- plots and times


def test_unseen_is_not_zero_failed() -> None:
    """Every minute of the axis is in one stretch; those without a vote are unseen."""
    series = an_answer().cells[0]
    scale = Scale(START, START + 240 * MINUTE)
    parts = bins(series, scale)
    assert parts[0].start == scale.low and parts[-1].stop == scale.high
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
    assert sum(part.failed for part in parts) == sum(series.failed)
    assert parts[-1].kind() == "unseen" and parts[0].kind() == "ok"
    assert {part.kind() for part in bins(None, scale)} == {"unseen"}


def test_zone() -> None:
    zone = Zone("Asia/Karachi")
    assert zone.full(START) == "2024-01-20 18:00:00 PKT (UTC+05:00)" and zone.utc_short(START) == "13:00"
    assert Zone().full(START) == "2024-01-20 13:00:00 UTC"
    assert Zone("Asia/Kathmandu").offset(START) == 345
    for name in ("Mars/Base", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="no time zone"):
            Zone(name)


@pytest.mark.parametrize("time_ns", [-1, 0, 2**63 - 1, 253_402_300_799 * 10**9])
def test_any_time_can_be_said(time_ns: int) -> None:
    assert Zone("Pacific/Kiritimati").full(time_ns)


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("report") / "demo.html"
    done = run("--report", path, DEMO)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if not EVENINGS:
        pytest.skip("no recorded evenings")
    path = tmp_path_factory.mktemp("report") / "evening.html"
    done = run("--report", path, "--tz", "Asia/Karachi", *EVENINGS)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize("which", ["demo", "evening"])
def test_words_go_no_further_than_packets(which: str, request: pytest.FixtureRequest) -> None:
    html = request.getfixturevalue(which).read_text("utf-8")
    words = Reader(html).words()
    assert not NEVER.findall(words), NEVER.findall(words)
    assert "Who ordered it, and why? Not answered" in words
    assert len(html.encode()) < 300_000


def test_evening_has_its_event(evening: pathlib.Path) -> None:
    html = evening.read_text("utf-8")
    assert "PKT (UTC+05:00)" in html and 'class="event"' in html and html.count('class="ladder"') >= 2
    assert "Best explained by" in html


def test_manifest_lists_what_was_read(demo: pathlib.Path) -> None:
    record = json.loads(pathlib.Path(f"{demo}.manifest.json").read_text())
    assert record["inputs"][0]["sha256"] == hashlib.sha256(DEMO.read_bytes()).hexdigest()
    assert record["outputs"][0]["sha256"] == hashlib.sha256(demo.read_bytes()).hexdigest()
    assert record["inputs"][0]["sha256"] in demo.read_text("utf-8")
    assert {one["name"] for one in record["data"]} >= {"weights.toml", "targets.toml", "causes.toml"}
    assert record["stated"]["collected_by"] is None


def test_verify(demo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manifest = f"{demo}.manifest.json"
    assert run("verify", manifest).returncode == 0
    copy = tmp_path / "demo.html"
    copy.write_text(demo.read_text("utf-8") + " ", "utf-8")
    beside = tmp_path / "demo.html.manifest.json"
    beside.write_text(pathlib.Path(manifest).read_text())
    done = run("verify", "-q", beside)
    assert done.returncode == 1 and done.stdout.split() == ["differs", "output", "demo.html"]
    copy.unlink()
    assert run("verify", beside).returncode == 4
    assert run("verify", DEMO).returncode == 3 and run("verify", tmp_path / "none").returncode == 3
    assert run("verify").returncode == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"type": "manifest"}', '{"type": "manifest", "inputs": [3]}'])
def test_no_manifest(content: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(ValueError):
        check(str(path))


def test_capture_with_nothing(tmp_path: pathlib.Path) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(build.pcap([]))
    out = tmp_path / "r.html"
    done = run("--report", out, empty)
    assert out.exists(), done.stderr
    words = Reader(out.read_text("utf-8")).words()
    assert "no proof of the contrary" in words and not NEVER.findall(words)


def test_from_a_pipe(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "r.html"
    argv = [*COMMAND, "--report", str(out), "-"]
    with open(DEMO, "rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as pipe:
        done = subprocess.run(argv, stdin=pipe.stdout, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    html = out.read_text("utf-8")
    assert "read from a pipe" in html and 'class="ladder"' in html
    assert run("verify", f"{out}.manifest.json").returncode == 4


def test_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    """No room, no folder: exit status 5, a sentence, and the old report stays."""
    done = run("--report", tmp_path / "no" / "r.html", DEMO)
    assert done.returncode == 5 and "no such folder" in done.stderr and "Traceback" not in done.stderr
    if os.path.exists("/dev/full"):
        done = run("--report", "/dev/full", DEMO)
        assert done.returncode == 5 and "cannot be written" in done.stderr
    old = tmp_path / "r.html"
    old.write_text("old")
    (tmp_path / "r.html.manifest.json.part").mkdir()
    done = run("--report", old, DEMO)
    assert done.returncode == 5 and old.read_text() == "old"
    assert not (tmp_path / "r.html.part").exists()


def test_wrong_usage(tmp_path: pathlib.Path) -> None:
    for argv in (["--report", "-"], ["--report", DEMO], ["--report", tmp_path / "r.html", "--tz", "Mars/Base"]):
        done = run(*argv, DEMO)
        assert done.returncode == 2, done.stderr
    assert not (tmp_path / "r.html").exists() and DEMO.read_bytes()[:4] != b"<!DO"


# ---------------------------------------------------------------- in a browser


def _chromium(*argv: str) -> subprocess.CompletedProcess[str]:
    fixed = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    return subprocess.run([BROWSER, *fixed, *argv], capture_output=True, text=True, check=False, timeout=120)


@needs_browser
def test_browser_runs_it_and_refuses_nothing(demo: pathlib.Path) -> None:
    """The script adds its buttons, so its hash is right, and the console has no complaint."""
    done = _chromium("--dump-dom", demo.as_uri())
    assert 'class="tools"' in done.stdout, done.stderr[-2000:]
    assert "Content Security Policy" not in done.stderr and "CONSOLE" not in done.stderr


@needs_browser
def test_browser_prints_it(demo: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "r.pdf"
    _chromium(f"--print-to-pdf={out}", demo.as_uri())
    assert out.read_bytes()[:5] == b"%PDF-"
