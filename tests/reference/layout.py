"""The tables' dtypes and the enumerations, read from csrc/tamperscope.h, so that no field is written down twice."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

HEADER = pathlib.Path(__file__).parents[2] / "csrc" / "tamperscope.h"
TYPES = {
    "char": "S",
    "uint8_t": "u1",
    "uint16_t": "u2",
    "uint32_t": "u4",
    "uint64_t": "u8",
    "int32_t": "i4",
    "int64_t": "i8",
}


def _clean() -> str:
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)


def _field(line: str) -> tuple[Any, ...]:
    kind, rest = line.split(None, 1)
    name, *sizes = re.findall(r"\w+", rest)
    if kind == "char":
        return name, f"S{sizes[0]}"
    return (name, TYPES[kind], tuple(map(int, sizes))) if sizes else (name, TYPES[kind])


def table(name: str) -> np.dtype[Any]:
    """dtype of `struct tscope_<name>`, aligned as the C compiler aligns it."""
    found = re.search(rf"struct tscope_{name} \{{(.*?)\n\}};", _clean(), re.S)
    assert found, f"no struct tscope_{name} in {HEADER.name}"
    return np.dtype([_field(part.strip()) for part in found[1].split(";") if part.strip()], align=True)


def enumeration(prefix: str) -> dict[str, int]:
    """Every enumerator whose name begins with TSCOPE_<prefix>, without that beginning."""
    pairs = re.findall(rf"TSCOPE_({prefix}\w*) = ([^,}}\n]+)", _clean())
    return {name[len(prefix) :]: eval(value) for name, value in pairs}


FLOW = table("flow")
TRACE = table("trace")
FLOW_CONTEXT = table("flow_context")
TRANSACTION = table("transaction")
MESSAGE = table("message")
TRANSACTION_CONTEXT = table("transaction_context")
