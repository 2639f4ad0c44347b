"""
Which platform a server name belongs to, and which network a client was in.

A target is a service under all of its names (``data/targets.toml``, the user's own file on top), never an address.  A
network is what the user says by label, an AS number from a table or database, or, without either, the capture's own
file name: one carrier has many prefixes, and an office has one of somebody else's.
"""

from __future__ import annotations

import os
import tomllib
from fnmatch import fnmatchcase

from tamperscope.answer import OTHER, Target
from tamperscope.catalogue import DATA
from tamperscope.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

TABLE = os.path.join(DATA, "targets.toml")
DOMESTIC = "domestic"
RESERVED = (OTHER, DOMESTIC)
WATCHED = frozenset(("social", "video", "messaging", "forum"))  # kinds that interference at public occasions aims at
MAX_NAMES = 1 << 18  # names whose target is remembered


class Targets:
    """
    The table of targets: ``all`` are `Target`, by number; number 0 is ``other``, 1 ``domestic`` (controls by the user).

    Args:
        paths: the user's own files, each in the form of ``data/targets.toml``; a target of the same id replaces that of
            the table.  ``[[control]]`` with ``names`` and ``class = "domestic"`` names destinations inside the country.
    Raises:
        UsageError: a file that cannot be read or does not have that form.
    """

    def __init__(self, paths: Sequence[str] = ()) -> None:
        entries: dict[str, dict[str, Any]] = {}
        domestic: list[str] = []
        for path in (TABLE, *paths):
            data = _load(path)
            for entry in _list(data, "target", path):
                entries[_text(entry, "id", path)] = _checked(entry, path)
            for entry in _list(data, "control", path):
                domestic += _control(entry, path)
        self.all = [Target(OTHER, "other names", "", OTHER), Target(DOMESTIC, "domestic names", "", DOMESTIC)]
        self._ends: dict[bytes, int] = {}
        for ident, entry in entries.items():
            self._add(entry["names"], len(self.all))
            title, operator = entry.get("title", ident), entry.get("operator", ident)
            self.all.append(Target(ident, title, operator, entry.get("kind", "service")))
        self._add(domestic, 1)
        self._known: dict[bytes, int] = {}

    def _add(self, names: Iterable[str], number: int) -> None:
        for name in names:
            self._ends[name.lower().strip(".").encode("ascii", "replace")] = number

    def find(self, name: bytes) -> int:
        """Number of the target that a server name belongs to; 0 where it is none."""
        found = self._known.get(name)
        if found is None:
            found = self._look(name.lower().rstrip(b"."))
            if len(self._known) >= MAX_NAMES:  # a capture can make up names without end
                self._known.clear()
            self._known[name] = found
        return found

    def _look(self, name: bytes) -> int:
        while name:
            found = self._ends.get(name)
            if found is not None:
                return found
            name = name.partition(b".")[2]
        return 0


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None


def _list(data: dict[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UsageError(f"{path}: {key} has to be written as [[{key}]]")
    return found


def _text(entry: dict[str, Any], key: str, path: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{path}: a target needs {key}, a word")
    return value


def _checked(entry: dict[str, Any], path: str) -> dict[str, Any]:
    ident = _text(entry, "id", path)
    if ident in RESERVED or ident == "*":
        raise UsageError(f"{path}: a target cannot be called {ident}")
    for key in ("title", "operator", "kind"):
        if key in entry:
            _text(entry, key, path)
    _names(entry, path)
    return entry


def _control(entry: dict[str, Any], path: str) -> list[str]:
    if entry.get("class") != DOMESTIC:
        raise UsageError(f'{path}: a control needs class = "{DOMESTIC}"; all names that are no target are foreign ones')
    return _names(entry, path)


def _names(entry: dict[str, Any], path: str) -> list[str]:
    names = entry.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(one, str) and one.strip(".") for one in names):
        raise UsageError(f"{path}: names has to be a list of domain names")
    return names


class Labels:
    """
    Which network a capture stands for: the label of the first pattern that its path or file name fits.

    Args:
        given: (label, pattern) as with ``--label name=glob``.
    """

    def __init__(self, given: Sequence[tuple[str, str]] = ()) -> None:
        self._given = tuple(given)

    def of(self, capture: str) -> tuple[str, str]:
        """(label, "label" or "file") of a capture."""
        base = os.path.basename(capture)
        for label, pattern in self._given:
            if fnmatchcase(capture, pattern) or fnmatchcase(base, pattern):
                return label, "label"
        return base or capture, "file"
