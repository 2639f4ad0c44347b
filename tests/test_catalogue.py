"""The catalogue: every entry can be checked by a reader, and an entry that cannot is refused."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from tamperscope import catalogue
from tamperscope.errors import CatalogueError
from tamperscope.weigh import mechanisms

GOOD = """
mechanism = "rst_injection"

[[signature]]
id = "late_data"
title = "Late data"
kind = "law"
predicate = "Data after the reset."
strength = "proof"
sources = ["paper"]
seen = [{ year = 2009, where = "somewhere" }]
look_alikes = [{ id = "reordering", separates = "numbers" }]

[[look_alike]]
id = "reordering"
what = "Packets overtake each other."

[[source]]
id = "paper"
title = "A Paper"
year = 2009
where = "a conference"
basis = "read"
"""


def load_text(folder: pathlib.Path, text: str) -> catalogue.Catalogue:
    (folder / "one.toml").write_text(text, "utf-8")
    return catalogue.load(str(folder))


def test_shipped_catalogue_loads() -> None:
    """The three mechanisms have laws, families and at least one proof each where one is possible."""
    known = catalogue.load()
    for mechanism in ("rst_injection", "sni_drop", "dns_forgery"):
        assert len(known.of(mechanism, "law")) >= 5
        assert len(known.of(mechanism, "family")) >= 5
    assert known["data_after_reset"].strength == "proof"
    assert "data_after_reset" in known and "no_such" not in known
    assert len(known) == len(list(known)) == len({one.id for one in known})


def weights() -> dict[tuple[str, str], dict[str, Any]]:
    """The observations of data/weights.toml by mechanism and id."""
    data = tomllib.loads((pathlib.Path(catalogue.DATA) / "weights.toml").read_text("utf-8"))
    return {(mechanism, one["id"]): one for one in data["observation"] for mechanism in mechanisms(one)}


def test_evidence_is_what_findings_rest_on() -> None:
    """Each evidence id of a law is weighed, in one law only, and a law is a proof where one of its facts is."""
    weighed, named = weights(), set()
    for law in catalogue.load():
        for id in law.evidence:
            assert (law.mechanism, id) in weighed, f"{law.id}: {id}"
            assert (law.mechanism, id) not in named, f"{law.id}: {id} stands in two laws"
            named.add((law.mechanism, id))
        proof = any(weighed[law.mechanism, id].get("proof") for id in law.evidence)
        assert not law.evidence or proof == (law.strength == "proof"), law.id


def test_every_proof_has_a_law() -> None:
    """What can confirm a finding has a source and look-alikes."""
    known = {(law.mechanism, id) for law in catalogue.load() for id in law.evidence}
    for key, one in weights().items():
        assert not one.get("proof") or key in known, key


def test_silence_is_never_a_proof() -> None:
    """What rests on nothing having arrived may support, not settle."""
    for one in catalogue.load():
        assert "unanswered" not in one.id or one.strength == "context"


def test_good_file_keeps_its_parts(tmp_path: pathlib.Path) -> None:
    (only,) = load_text(tmp_path, GOOD)
    assert (only.id, only.mechanism, only.kind, only.strength) == ("late_data", "rst_injection", "law", "proof")
    assert only.sources[0].title == "A Paper" and only.sources[0].year == 2009
    assert only.look_alikes[0].what.startswith("Packets") and only.look_alikes[0].separates == "numbers"
    assert only.seen == ((2009, "somewhere"),) and only.match is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "late_data"\n', "", "signature 1: id: missing"),
        ('id = "late_data"', 'id = "Late Data"', "id: small letters"),
        ('sources = ["paper"]\n', "", "without a source is refused"),
        ('sources = ["paper"]', "sources = []", "without a source is refused"),
        ('sources = ["paper"]', 'sources = ["rumour"]', "'rumour' is no"),
        ('look_alikes = [{ id = "reordering", separates = "numbers" }]\n', "", "without its look-alikes is refused"),
        ('look_alikes = [{ id = "reordering", separates = "numbers" }]', "look_alikes = []", "is refused"),
        ('{ id = "reordering", separates = "numbers" }', '{ id = "reordering" }', "separates: missing"),
        ('{ id = "reordering", separates', '{ id = "other", separates', "'other' is no"),
        ('{ id = "reordering", separates = "numbers" }', '"reordering"', "needs tables"),
        ('mechanism = "rst_injection"', 'mechanism = "magic"', "mechanism: 'magic'"),
        ('kind = "law"', 'kind = "rule"', "kind: 'rule'"),
        ('strength = "proof"', 'strength = "certain"', "strength: 'certain'"),
        ('predicate = "Data after the reset."', 'predicate = " "', "predicate: missing"),
        ('kind = "law"', 'kind = "family"', "match: a family needs a table"),
        ('kind = "law"', 'kind = "law"\nmatch = { df = 0 }', "a law has none"),
        ('kind = "law"', 'kind = "family"\nmatch = { colour = 0 }', "colour: unknown key"),
        ('kind = "law"', 'kind = "family"\nmatch = { df = 0 }\nevidence = ["x"]', "and a law"),
        ('kind = "law"', 'kind = "law"\nevidence = []', "evidence: missing or empty"),
        ('kind = "law"', 'kind = "law"\nevidence = [""]', "evidence: needs evidence ids"),
        ('kind = "law"', 'kind = "law"\nconfidence = 1', "confidence: unknown key"),
        ("year = 2009, where", "year = 209, where", "209 is no year"),
        ("year = 2009\n", 'year = "2009"\n', "'2009' is no year"),
        ('basis = "read"', 'basis = "heard"', "basis: 'heard'"),
        ("[[source]]", '[[look_alike]]\nid = "idle"\nwhat = "x"\n[[source]]', "no signature refers to this look_alike"),
        ("[[look_alike]]", '[[look_alike]]\nid = "reordering"\nwhat = "x"\n[[look_alike]]', "id is given twice"),
        ("[[source]]", '[[source]]\nid = "paper"\n[[source]]', "title: missing"),
        ("[[signature]]", "[[signature", "not TOML"),
        ("[[signature]]", "[signature]", "needs [[signature]] tables"),
    ],
)
def test_refused(tmp_path: pathlib.Path, old: str, new: str, said: str) -> None:
    """One change to a good file breaks one rule, and the message names file and reason."""
    assert old in GOOD
    with pytest.raises(CatalogueError) as raised:
        load_text(tmp_path, GOOD.replace(old, new, 1))
    assert said in str(raised.value) and "one.toml" in str(raised.value)


INJECTOR = """
[[injector]]
id = "box.one"
title = "A box"
mechanism = "rst_injection"
predicate = "IP ID 7."
strength = "statistical"
match = { ip_id = 7 }
worth = 2.0
why = "one of many"
sources = ["paper", "note"]
look_alikes = [{ id = "reordering", separates = "numbers" }]

[[source]]
id = "note"
title = "A Note"
year = 2010
where = "a page"
basis = "read"
"""


def load_both(folder: pathlib.Path, injectors: str) -> catalogue.Catalogue:
    (folder / "signatures").mkdir(exist_ok=True)
    (folder / "signatures" / "one.toml").write_text(GOOD, "utf-8")
    (folder / "injectors.toml").write_text(injectors, "utf-8")
    return catalogue.load(str(folder / "signatures"))


def test_injectors_beside_signatures(tmp_path: pathlib.Path) -> None:
    """Families stand apart; they may use sources and processes of their mechanism's file."""
    box = load_both(tmp_path, INJECTOR)["box.one"]
    assert (box.kind, box.match, box.worth, box.why) == ("family", {"ip_id": 7}, 2.0, "one of many")
    assert [source.id for source in box.sources] == ["paper", "note"] and box.look_alikes[0].id == "reordering"
    assert catalogue.injectors(str(tmp_path / "injectors.toml")) == [("box.one", "rst_injection", {"ip_id": 7}, 2.0)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("match = { ip_id = 7 }\n", "", "match: a family needs a table"),
        ("match = { ip_id = 7 }", "match = { colour = 0 }", "colour: unknown key"),
        ("worth = 2.0\n", "", "worth and why"),
        ('why = "one of many"\n', "", "worth and why"),
        ("worth = 2.0", 'worth = "much"', "worth: needs a number"),
        ('mechanism = "rst_injection"', 'mechanism = "magic"', "mechanism: 'magic'"),
        ('"paper", "note"', '"note", "rumour"', "'rumour' is no"),
        ('"paper", "note"', '"paper"', "no signature refers to this source"),
        ('sources = ["paper", "note"]\n', "", "without a source is refused"),
        ('title = "A box"', 'title = "A box"\nkind = "family"', "kind: unknown key"),
        ('title = "A box"', 'title = "A box"\nevidence = ["x"]', "evidence: unknown key"),
        ('id = "box.one"', 'id = "late_data"', "given twice"),
    ],
)
def test_injector_refused(tmp_path: pathlib.Path, old: str, new: str, said: str) -> None:
    assert old in INJECTOR
    with pytest.raises(CatalogueError, match=said):
        load_both(tmp_path, INJECTOR.replace(old, new, 1))


def test_ids_differ_over_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / "two.toml").write_text(GOOD, "utf-8")
    with pytest.raises(CatalogueError, match="late_data: this id is given twice"):
        load_text(tmp_path, GOOD)


def test_not_utf8(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one.toml").write_bytes(b'mechanism = "\xff"')
    with pytest.raises(CatalogueError, match="not TOML"):
        catalogue.load(str(tmp_path))


def test_empty_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CatalogueError, match=r"no \.toml file"):
        catalogue.load(str(tmp_path))


def test_rules_id_follows_the_data(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any change of name or content of a data file shows in the id that results carry."""
    assert len(catalogue.rules_id()) == 8
    monkeypatch.setattr(catalogue, "DATA", str(tmp_path))
    (tmp_path / "one.toml").write_text("a = 1", "utf-8")
    first = catalogue.rules_id()
    assert catalogue.rules_id() == first
    (tmp_path / "one.toml").write_text("a = 2", "utf-8")
    second = catalogue.rules_id()
    (tmp_path / "one.toml").rename(tmp_path / "two.toml")
    assert len({first, second, catalogue.rules_id()}) == 3


def test_import_does_not_load_the_parser() -> None:
    """The TOML parser is for those who read the catalogue, not for a plain scan."""
    code = "import sys, tamperscope.catalogue; sys.exit('tomllib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
