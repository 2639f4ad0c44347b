"""
The catalogue of signatures: what is looked for, who has described it, and what else leaves the same trace.

One TOML file a mechanism in ``data/signatures/``:

    mechanism = "rst_injection"
    [[signature]]        id, title, kind, predicate, strength, sources, look_alikes; optional: evidence, seen, match
    [[look_alike]]       id, what: an innocent process
    [[source]]           id, title, year, where, basis

and ``data/injectors.toml``, the habits of known boxes, for attribution only:

    [[injector]]         id, title, mechanism, predicate, strength, match, sources, look_alikes;
                         optional: seen, worth, why
    [[look_alike]], [[source]]: those that the file of that mechanism does not have

``kind`` is ``law`` (holds for any injector) or ``family`` (a known page; every injector).  ``evidence`` of a law names
the observations that carry it, by the evidence ids of findings; a law without is known but not judged by.
``strength`` is ``proof`` (no look-alike makes it once the named ones are excluded), ``statistical`` (needs counts or
controls) or ``context`` (supports, never decides).  ``look_alikes`` of a signature pairs the id of a process with what
tells it apart.  ``match`` holds the fields of a family for machines, ``worth`` what
they are worth together and ``why`` (`attribution`).
An entry without id, source or look-alike is refused: a claim that nobody can check must not be made.
"""

# pathlib would cost a plain scan its import.
from __future__ import annotations

import os

from tamperscope.errors import CatalogueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

MECHANISMS = (
    "rst_injection", "sni_drop", "http_drop", "quic_drop", "dns_forgery", "dns_drop", "blockpage", "tls_mitm",
    "throttling", "ip_block",
)  # fmt: skip
KINDS = ("law", "family")
STRENGTHS = ("proof", "statistical", "context")
BASES = ("read", "extract", "excerpt", "recalled")
KEYS = frozenset(
    ("id", "title", "kind", "predicate", "strength", "sources", "look_alikes", "evidence", "seen", "match")
)
INJECTOR_KEYS = frozenset((
    "id", "title", "mechanism", "predicate", "strength", "sources", "look_alikes", "seen", "match", "worth", "why",
))  # fmt: skip
MATCH_KEYS = frozenset((
    "flags", "count", "ip_id", "ip_id_min", "ip_id_max", "ip_id_step", "df", "ttl_initial", "window", "ack",
    "seq_steps", "payload", "extension", "residual_s", "scope", "direction", "renewed", "packets_after",
    "bytes_to_client", "aa", "record_ttl", "addresses", "aaaa_prefix", "ip_id_same", "window_step", "ttl_step",
    "ttl_tells", "status", "location", "server", "title", "body", "issuer",
))  # fmt: skip
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


class Source:
    """Where a statement comes from; ``basis`` says how well it was read (``extract``, ``recalled``: check first)."""

    __slots__ = ("basis", "id", "title", "where", "year")

    def __init__(self, id: str, title: str, year: int, where: str, basis: str) -> None:
        self.id = id
        self.title = title
        self.year = year
        self.where = where
        self.basis = basis


class LookAlike:
    """An innocent process (``what``) and what tells it apart from one signature (``separates``)."""

    __slots__ = ("id", "separates", "what")

    def __init__(self, id: str, what: str, separates: str) -> None:
        self.id = id
        self.what = what
        self.separates = separates


class Signature:
    """
    One entry.

    ``evidence`` holds evidence ids, ``seen`` pairs of (year, where), ``match`` a dict or None, ``worth`` log10 of how
    much likelier these fields are if this box made them (None: not told from one flow), ``why`` its reason.
    """

    __slots__ = (
        "evidence",
        "id",
        "kind",
        "look_alikes",
        "match",
        "mechanism",
        "predicate",
        "seen",
        "sources",
        "strength",
        "title",
        "why",
        "worth",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        mechanism: str,
        title: str,
        kind: str,
        predicate: str,
        strength: str,
        sources: tuple[Source, ...],
        look_alikes: tuple[LookAlike, ...],
        evidence: tuple[str, ...] = (),
        seen: tuple[tuple[int, str], ...] = (),
        match: dict[str, Any] | None = None,
        worth: float | None = None,
        why: str = "",
    ) -> None:
        self.id = id
        self.mechanism = mechanism
        self.title = title
        self.kind = kind
        self.predicate = predicate
        self.strength = strength
        self.sources = sources
        self.look_alikes = look_alikes
        self.evidence = evidence
        self.seen = seen
        self.match = match
        self.worth = worth
        self.why = why

    def __repr__(self) -> str:
        return f"Signature({self.id!r}, {self.mechanism!r}, {self.strength!r})"


class Catalogue:
    """Signatures by id, in the order of the files."""

    def __init__(self, signatures: list[Signature]) -> None:
        self._by_id: dict[str, Signature] = {}
        for signature in signatures:
            if signature.id in self._by_id:
                raise CatalogueError("this id is given twice", entry=signature.id)
            self._by_id[signature.id] = signature

    def __iter__(self) -> Iterator[Signature]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def __getitem__(self, id: str) -> Signature:
        return self._by_id[id]

    def of(self, mechanism: str, kind: str | None = None) -> list[Signature]:
        """Signatures of one mechanism, of one kind if given."""
        return [one for one in self if one.mechanism == mechanism and kind in (None, one.kind)]


def load(folder: str | None = None) -> Catalogue:
    """
    The catalogue of a folder of TOML files with ``injectors.toml`` beside it, the package's own by default.

    Raises:
        CatalogueError: an entry breaks the rules above; names file and entry.
        OSError: the folder cannot be read.
    """
    folder = folder or os.path.join(DATA, "signatures")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".toml"))
    if not names:
        raise CatalogueError("no .toml file in this folder", path=folder)
    files = [_File(path, _toml(path)) for path in (os.path.join(folder, name) for name in names)]
    injectors = os.path.join(os.path.dirname(folder), "injectors.toml")
    found = [one for file in files for one in file.signatures()]
    if os.path.exists(injectors):
        found += _Injectors(injectors, _toml(injectors), files).signatures()
    return Catalogue(found)


_read: dict[str, list[Any]] = {}  # of the package's own files, read once: what a scan asks for


def families(mechanism: str) -> list[Signature]:
    """Families of boxes in the package's own file on a mechanism, without the checks of `load` across files."""
    if mechanism not in _read:
        path = os.path.join(DATA, "signatures", mechanism + ".toml")
        _read[mechanism] = [one for one in _File(path, _toml(path)).signatures() if one.kind == "family"]
    return list(_read[mechanism])


def injectors(path: str | None = None) -> list[tuple[str, str, dict[str, Any], float]]:
    """
    (id, mechanism, match, worth) of each family that one flow's packets can tell, without the checks of `load`.

    That costs a scan less than the whole catalogue.
    """
    if path is None and "injectors" in _read:
        return list(_read["injectors"])
    data = _toml(path or os.path.join(DATA, "injectors.toml"))
    found = [(one["id"], one["mechanism"], one["match"], one["worth"]) for one in data["injector"] if "worth" in one]
    if path is None:
        _read["injectors"] = found
    return list(found)


def _toml(path: str) -> dict[str, Any]:
    import tomllib  # only those who ask for the catalogue pay for the parser

    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except ValueError as error:  # TOML or UTF-8
            raise CatalogueError(f"not TOML: {error}", path=path) from None


def rules_id() -> str:
    """Eight hex digits over the names and bytes of all data files: changes whenever one of them does."""
    from binascii import crc32

    sum32 = 0
    for path in sorted(_data_files(DATA)):
        with open(path, "rb") as file:
            sum32 = crc32(file.read(), crc32(os.path.relpath(path, DATA).encode(), sum32))
    return f"{sum32:08x}"


def _data_files(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _data_files(entry.path)
        elif entry.name.endswith(".toml"):
            yield entry.path


class _File:
    """The checks of one file, with its path for the messages."""

    entry = "signature"

    def __init__(self, path: str, data: dict[str, Any]) -> None:
        self.path = path
        self.data = data
        self.used: set[tuple[str, str]] = set()
        self.mechanism = self._of_file()
        self.sources = {id: self._source(id, table) for id, table in self._tables("source")}
        self.look_alikes = {id: self._process(id, table) for id, table in self._tables("look_alike")}

    def _of_file(self) -> str:
        """What the whole file is about."""
        self._known(self.data, {"mechanism", self.entry, "look_alike", "source"}, None)
        return self._word(self.data, "mechanism", None, MECHANISMS)

    def signatures(self) -> list[Signature]:
        found = [self._signature(id, table) for id, table in self._tables(self.entry)]
        if not found:
            raise CatalogueError(f"holds no [[{self.entry}]]", path=self.path)
        for kind, ids in (("source", self.sources), ("look_alike", self.look_alikes)):
            for id in ids:
                if (kind, id) not in self.used:
                    raise self._error(id, f"no signature refers to this {kind}")
        return found

    def _signature(self, id: str, table: dict[str, Any]) -> Signature:
        self._known(table, KEYS, id)
        kind = self._word(table, "kind", id, KINDS)
        return Signature(
            id,
            self.mechanism,
            self._word(table, "title", id),
            kind,
            self._word(table, "predicate", id),
            self._word(table, "strength", id, STRENGTHS),
            self._sources_of(id, table),
            self._look_alikes_of(id, table),
            self._evidence(id, table, kind),
            self._seen(id, table),
            self._match(id, table, kind),
        )

    def _sources_of(self, id: str, table: dict[str, Any]) -> tuple[Source, ...]:
        names = self._list(table, "sources", id, "a claim without a source is refused")
        for name in names:
            if not isinstance(name, str) or name not in self.sources:
                raise self._error(id, f"sources: {name!r} is no [[source]] of this file")
            self.used.add(("source", name))
        return tuple(self.sources[name] for name in names)

    def _look_alikes_of(self, id: str, table: dict[str, Any]) -> tuple[LookAlike, ...]:
        found = []
        for pair in self._list(table, "look_alikes", id, "a signature without its look-alikes is refused"):
            if not isinstance(pair, dict):
                raise self._error(id, "look_alikes: needs tables with id and separates")
            self._known(pair, {"id", "separates"}, id)
            name, separates = self._word(pair, "id", id), self._word(pair, "separates", id)
            if name not in self.look_alikes:
                raise self._error(id, f"look_alikes: {name!r} is no [[look_alike]] of this file")
            self.used.add(("look_alike", name))
            found.append(LookAlike(name, self.look_alikes[name], separates))
        return tuple(found)

    def _evidence(self, id: str, table: dict[str, Any], kind: str) -> tuple[str, ...]:
        if "evidence" not in table:
            return ()
        names = self._list(table, "evidence", id, "leave it out where the law is not judged by")
        if kind != "law" or not all(isinstance(name, str) and _is_id(name) for name in names):
            raise self._error(id, "evidence: needs evidence ids, and a law")
        return tuple(names)

    def _seen(self, id: str, table: dict[str, Any]) -> tuple[tuple[int, str], ...]:
        if "seen" not in table:
            return ()
        found = []
        for one in self._list(table, "seen", id, "leave it out where nothing is known"):
            if not isinstance(one, dict):
                raise self._error(id, "seen: needs tables with year and where")
            self._known(one, {"year", "where"}, id)
            found.append((self._year(one, id), self._word(one, "where", id)))
        return tuple(found)

    def _match(self, id: str, table: dict[str, Any], kind: str) -> dict[str, Any] | None:
        match = table.get("match")
        if kind == "law":
            if match is not None:
                raise self._error(id, "match: a law has none")
            return None
        if not isinstance(match, dict) or not match:
            raise self._error(id, "match: a family needs a table with at least one field")
        self._known(match, MATCH_KEYS, id)
        return match

    def _source(self, id: str, table: dict[str, Any]) -> Source:
        self._known(table, {"id", "title", "year", "where", "basis"}, id)
        title, where = self._word(table, "title", id), self._word(table, "where", id)
        return Source(id, title, self._year(table, id), where, self._word(table, "basis", id, BASES))

    def _process(self, id: str, table: dict[str, Any]) -> str:
        self._known(table, {"id", "what"}, id)
        return self._word(table, "what", id)

    def _tables(self, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, table) of each [[key]]; ids must be there and differ."""
        tables, seen = self.data.get(key, []), set()
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise CatalogueError(f"{key}: needs [[{key}]] tables", path=self.path)
        for number, table in enumerate(tables, 1):
            id = self._word(table, "id", f"{key} {number}")
            if not _is_id(id):
                raise self._error(id, "id: small letters, digits, _ and . only, a letter first")
            if id in seen:
                raise self._error(id, f"this {key} id is given twice")
            seen.add(id)
            yield id, table

    def _word(self, table: dict[str, Any], key: str, entry: str | None, allowed: tuple[str, ...] = ()) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._error(entry, f"{key}: missing or empty")
        if allowed and value not in allowed:
            raise self._error(entry, f"{key}: {value!r} is none of {', '.join(allowed)}")
        return value

    def _list(self, table: dict[str, Any], key: str, entry: str, reason: str) -> list[Any]:
        value = table.get(key)
        if not isinstance(value, list) or not value:
            raise self._error(entry, f"{key}: missing or empty; {reason}")
        return value

    def _year(self, table: dict[str, Any], entry: str) -> int:
        year = table.get("year")
        if not isinstance(year, int) or not 1969 <= year <= 2100:
            raise self._error(entry, f"year: {year!r} is no year")
        return year

    def _known(self, table: dict[str, Any], keys: Collection[str], entry: str | None) -> None:
        for key in table:
            if key not in keys:
                raise self._error(entry, f"{key}: unknown key; known are {', '.join(sorted(keys))}")

    def _error(self, entry: str | None, text: str) -> CatalogueError:
        return CatalogueError(text, path=self.path, entry=entry)


class _Injectors(_File):
    """The checks of the habits of known boxes; sources and processes are also those of the mechanisms' files."""

    entry = "injector"

    def __init__(self, path: str, data: dict[str, Any], files: list[_File]) -> None:
        super().__init__(path, data)
        self._own = self.sources, self.look_alikes
        self._files = {file.mechanism: file for file in files}

    def _of_file(self) -> str:
        self._known(self.data, {self.entry, "look_alike", "source"}, None)
        return ""

    def _signature(self, id: str, table: dict[str, Any]) -> Signature:
        self._known(table, INJECTOR_KEYS, id)
        mechanism = self._word(table, "mechanism", id, MECHANISMS)
        file = self._files.get(mechanism)
        sources, look_alikes = self._own
        self.sources = {**(file.sources if file else {}), **sources}
        self.look_alikes = {**(file.look_alikes if file else {}), **look_alikes}
        worth = table.get("worth")
        if worth is not None and not isinstance(worth, (int, float)):
            raise self._error(id, "worth: needs a number")
        if (worth is None) != ("why" not in table):
            raise self._error(id, "worth and why: one needs the other")
        signature = Signature(
            id, mechanism, self._word(table, "title", id), "family", self._word(table, "predicate", id),
            self._word(table, "strength", id, STRENGTHS), self._sources_of(id, table), self._look_alikes_of(id, table),
            (), self._seen(id, table), self._match(id, table, "family"), worth, table.get("why", ""),
        )  # fmt: skip
        self.sources, self.look_alikes = self._own
        return signature


def _is_id(id: str) -> bool:
    letters = id.replace(".", "").replace("_", "")
    return id.isascii() and letters.isalnum() and id == id.lower() and id[0].isalpha()
