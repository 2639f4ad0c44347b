"""Imports inside the package run one way, from errors to the command."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

import tamperscope

PACKAGE = pathlib.Path(tamperscope.__file__).parent
ORDER = (
    "errors",
    "model",
    "answer",
    "catalogue",
    "pcapng",
    "core",
    "marks",
    "flows",
    "notices",
    "inflate",
    "iterables",
    "source",
    "frame",
    "capture",
    "token_bucket",
    "fingerprint",
    "by_name",
    "in_common",
    "first_answer",
    "silence",
    "fingerprinters",
    "weigh",
    "attribution",
    "judge",
    "scan",
    "explain",
    "targets",
    "ballots",
    "cells",
    "changes",
    "events",
    "wording",
    "assess",
    "watch",
    "report",
    "spool",
    "console",
    "arguments",
    "commands",
    "cli",
)
# Its one job is to import names when they are used, wherever they stand.
LAZY = "__init__.py"


def modules_used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module below tamperscope) of every import, at any depth, those for type checkers too."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level
            elif node.module == "tamperscope":
                names = [f"tamperscope.{alias.name}" for alias in node.names]
            else:
                names = [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from ((node.lineno, name.split(".")[1]) for name in names if name.startswith("tamperscope."))
        if isinstance(node, ast.Name) and node.id in ("import_module", "__import__"):
            yield node.lineno, node.id


def violations(package: pathlib.Path) -> list[str]:
    """Each import against the order, as "file:line: what is wrong"."""
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name == LAZY:
            continue
        layer = name.split("/")[0].removesuffix(".py")
        if layer not in ORDER:
            found.append(f"{name}: has no place in the order")
            continue
        for line, used in modules_used(ast.parse(path.read_text("utf-8"))):
            trouble = against(layer, used)
            if trouble:
                found.append(f"{name}:{line}: {trouble}")
    return found


def against(layer: str, used: str) -> str | None:
    if used.startswith("."):
        return "relative import"
    if used == "_core":
        return None if layer == "core" else "the C core is seen by core.py alone"
    if used in ("import_module", "__import__"):
        return "imports by name, which hides the direction"
    if used.startswith("__"):
        return None
    if used not in ORDER:
        return f"{used} has no place in the order"
    if ORDER.index(used) > ORDER.index(layer):
        return f"{layer} imports {used}, which stands above it"
    return None


def test_imports_run_one_way() -> None:
    assert violations(PACKAGE) == []


def test_every_layer_is_there() -> None:
    """The order names no module that has gone."""
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name not in (LAZY, "__pycache__")}
    assert set(ORDER) <= there


def test_mechanisms_do_not_know_each_other() -> None:
    """One file a mechanism: what two of them need stands below both."""
    for path in sorted((PACKAGE / "fingerprinters").glob("*.py")):
        used = {module for _, module in modules_used(ast.parse(path.read_text("utf-8")))}
        assert path.name == LAZY or "fingerprinters" not in used, path.name


TOYS = {
    "upward": ("model.py", "from tamperscope.core import Core", "model imports core, which stands above it"),
    "upward, whole module": ("flows.py", "from tamperscope import scan", "flows imports scan, which stands above it"),
    "upward, plain": ("core.py", "import tamperscope.cli", "core imports cli, which stands above it"),
    "upward, in a function": (
        "source.py", "def f():\n    from tamperscope.scan import scan", "source imports scan, which stands above it",
    ),
    "upward, for types": (
        "marks.py", "if TYPE_CHECKING:\n    from tamperscope.weigh import Weight",
        "marks imports weigh, which stands above it",
    ),
    "upward, by name": ("core.py", "import_module('tamperscope.cli')", "imports by name, which hides the direction"),
    "upward, from a folder": (
        "fingerprinters/x.py", "from tamperscope.report.table import Table",
        "fingerprinters imports report, which stands above it",
    ),
    "relative": ("scan.py", "from .core import Core", "relative import"),
    "relative, package": ("scan.py", "from . import core", "relative import"),
    "past the door": ("capture.py", "from tamperscope._core import lib", "the C core is seen by core.py alone"),
    "a stranger": ("helpers.py", "", "has no place in the order"),
    "of a stranger": ("scan.py", "from tamperscope.helpers import x", "helpers has no place in the order"),
}  # fmt: skip


@pytest.mark.parametrize("toy", TOYS)
def test_toy_tree_fails(toy: str, tmp_path: pathlib.Path) -> None:
    """The check can fail: each kind of wrong import is found, and only that one."""
    (tmp_path / "fingerprinters").mkdir()
    (tmp_path / "errors.py").write_text("import os\n")
    (tmp_path / "core.py").write_text("from tamperscope._core import lib\nfrom tamperscope import errors\n")
    assert violations(tmp_path) == []
    name, code, trouble = TOYS[toy]
    (tmp_path / name).write_text(code)
    found = violations(tmp_path)
    assert len(found) == 1 and found[0].startswith(name) and found[0].endswith(trouble)
