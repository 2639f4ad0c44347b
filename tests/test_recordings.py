"""
Findings on recordings whose truth is known: those of the repository, and the labelled cases of the corpus.

Nobody is accused wrongly, nothing is claimed that cannot be decided, and what was interfered with is found or stands
below with the reason.
"""

from __future__ import annotations

import collections
import functools
import pathlib

import pytest

from corpus import CASES, PCAPS, needs_cases
from truth import Outcome, judge

# Those that there is a fingerprinter for.
MECHANISMS = ("rst_injection", "sni_drop", "blockpage", "tls_mitm", "dns_forgery", "dns_drop")
MURMURS = 0.01  # of the innocent flows
FRAMES = 0.99  # precision and recall of injected frames

OVERTAKEN = (
    "A single bare reset in the client's name overtook the hello: the bytes after it are older ones, as after any that "
    "came too soon; IPv6 has neither DF nor IP ID, and the name was met in one flow of this server only."
)
TUNNELLED = (
    "The handshake stands behind CONNECT and the proxy's answer to it: what is tunnelled in HTTP is not looked at. Its "
    "certificate is for another name than was asked for, and no other flow is there to hold it against."
)
# What is not found: (capture, client) to the reason, looked at packet by packet.
NOT_FOUND = {
    ("corp-zscaler-resigned.pcap", "3.251.38.200:59921"): TUNNELLED,
    ("mixed-loss-server.pcap.gz", "[2001:db8:1::23]:28713"): OVERTAKEN,
}
# Accusations that are right where the index is silent: (capture, client) to the reason.
RIGHT_ALL_THE_SAME = {
    (
        "lab-dns-one-answer.pcap",
        "192.168.137.134:51785",
    ): "frame 84 carries the query's own IP ID and the private address "
    "that all forged answers of the file give; the resolver's true answer follows in frame 86",
    ("lab-dns-one-answer.pcap", "192.168.137.134:59608"): "likewise frame 96, the true answer in frame 97",
}


@functools.cache
def outcomes(folder: pathlib.Path) -> list[Outcome]:
    indexes = sorted(folder.glob("*.json"))
    assert indexes
    return [outcome for index in indexes for outcome in judge(index)]


FOLDERS = [pytest.param(PCAPS, id="pcaps"), pytest.param(CASES, id="cases", marks=needs_cases)]
each_folder = pytest.mark.parametrize("folder", FOLDERS)
# Public tools and boxes of many kinds, most of them not looked for yet: nobody may be accused wrongly there either.
any_folder = pytest.mark.parametrize("folder", [*FOLDERS, pytest.param(PCAPS / "interference", id="interference")])


def of(folder: pathlib.Path, *kinds: str) -> list[Outcome]:
    return [one for one in outcomes(folder) if one.outcome in kinds]


def listed(wrong: list[Outcome]) -> str:
    return "\n" + "\n".join(map(str, wrong))


@any_folder
def test_nobody_is_accused_wrongly(folder: pathlib.Path) -> None:
    wrong = [one for one in of(folder, "false") if one.key not in RIGHT_ALL_THE_SAME]
    assert not wrong, listed(wrong)


@any_folder
def test_nothing_is_claimed_that_cannot_be_decided(folder: pathlib.Path) -> None:
    wrong = of(folder, "overclaim")
    assert not wrong, listed(wrong)


@each_folder
def test_what_was_interfered_with_is_found(folder: pathlib.Path) -> None:
    wrong = [one for one in of(folder, "missed", "other", "unsure") if one.expected in MECHANISMS and one.counts]
    wrong = [one for one in wrong if one.key not in NOT_FOUND]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("folder", [PCAPS / "interference"], ids=["interference"])
def test_forged_resets_are_found(folder: pathlib.Path) -> None:
    """Injectors of many kinds, seen from the client, the server and between."""
    kinds = ("found", "missed", "other", "unsure")
    count = [one for one in of(folder, *kinds) if one.expected == "rst_injection" and one.counts]
    wrong = [one for one in count if one.outcome != "found" and one.key not in NOT_FOUND]
    assert len(wrong) <= 0.02 * len(count), listed(wrong)


@each_folder
def test_no_other_mechanism_is_named(folder: pathlib.Path) -> None:
    """Interference of a kind that is not looked for yet is not called by another name."""
    wrong = of(folder, "other")
    assert not wrong, listed(wrong)


@any_folder
def test_murmurs_are_rare(folder: pathlib.Path) -> None:
    innocent, wrong = of(folder, "quiet", "murmur", "false"), of(folder, "murmur")
    assert len(innocent) > 100 and len(wrong) <= MURMURS * len(innocent), listed(wrong)


@each_folder
def test_forged_frames_are_named(folder: pathlib.Path) -> None:
    """Of the flows found, the frames named are the forged ones: no genuine frame among them, none left out."""
    pairs = [(one, *one.frames) for one in of(folder, "found")]
    right = sum(len(named & known) for _, named, known in pairs)
    named, known = (sum(len(pair[i]) for pair in pairs) for i in (1, 2))
    wrong = [one for one, named_here, known_here in pairs if named_here != known_here]
    assert right >= FRAMES * named and right >= FRAMES * known > 0, listed(wrong)


@each_folder
def test_the_lists_are_not_longer_than_needed(folder: pathlib.Path) -> None:
    """What is found by now, or no longer accused, goes from the lists above."""
    judged = outcomes(folder)
    here = {one.capture for one in judged}
    missed = {one.key for one in judged if one.outcome in ("missed", "other", "unsure")}
    accused = {one.key for one in judged if one.outcome == "false"}
    assert {key for key in NOT_FOUND if key[0] in here} <= missed
    assert {key for key in RIGHT_ALL_THE_SAME if key[0] in here} <= accused


@needs_cases
def test_accusations_that_are_right_name_those_frames() -> None:
    """The frames in the reasons are those in the findings."""
    named = {one.key[1]: [found.injected_frames for found in one.found] for one in of(CASES, "false")}
    assert named == {"192.168.137.134:51785": [[84]], "192.168.137.134:59608": [[96]]}


def test_a_wrong_truth_is_noticed(tmp_path: pathlib.Path) -> None:
    """The comparison can fail, in each direction."""
    index = (PCAPS / "demo.json").read_text()
    (tmp_path / "demo.pcap").symlink_to(PCAPS / "demo.pcap")
    for old, new, kind, least in (
        ('"expected": "dns_forgery"', '"expected": "none"', "false", 24),
        ('"expected": "dns_forgery"', '"expected": "insufficient"', "overclaim", 24),
        ('"expected": "rst_injection"', '"expected": "sni_drop"', "other", 20),
        ('"expected": "none"', '"expected": "sni_drop"', "missed", 80),
    ):
        assert old in index
        (tmp_path / "demo.json").write_text(index.replace(old, new))
        found = [one for one in judge(tmp_path / "demo.json") if one.outcome == kind]
        assert len(found) >= least, kind


@any_folder
def test_figures(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a test but a table, printed on every run."""
    kinds = ("found", "accepted", "unsure", "other", "missed", "quiet", "murmur", "false", "overclaim")
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in outcomes(folder):
        table[one.expected][one.outcome] += 1
    with capsys.disabled():
        print(f"\n{folder.name:<16}" + "".join(f"{kind:>10}" for kind in kinds))
        for expected in sorted(table):
            print(f"{expected:<16}" + "".join(f"{table[expected][kind] or '':>10}" for kind in kinds))
