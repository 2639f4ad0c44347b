"""cffi builder of tamperscope._core: the cdef is cut out of the header, so no prototype is written twice."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
HEADER = HERE / "tamperscope.h"
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]


def cdef_of(header: str) -> str:
    """The part of the header between the markers, without comments (cffi knows no preprocessor)."""
    part = header.split("/* cdef: begin */")[1].split("/* cdef: end */")[0]
    return re.sub(r"/\*.*?\*/", "", part, flags=re.DOTALL)


def flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags; TAMPERSCOPE_SANITIZE and TAMPERSCOPE_DEBUG change them."""
    compile_flags = ["-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden"]
    link_flags: list[str] = []
    if os.environ.get("TAMPERSCOPE_SANITIZE"):
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        compile_flags += ["-O1", "-g", *sanitize]
        link_flags += sanitize
    elif os.environ.get("TAMPERSCOPE_DEBUG_BUILD"):
        compile_flags += ["-O0", "-g"]
    else:
        compile_flags += ["-O2", "-fstack-protector-strong"]
        link_flags += ["-Wl,-z,relro,-z,now"]
    return compile_flags, link_flags


def sources() -> list[str]:
    """The C files, as setuptools wants them: relative to the project."""
    return [f"csrc/{path.name}" for path in sorted(HERE.glob("*.c"))]


ffi = FFI()
ffi.cdef(cdef_of(HEADER.read_text(encoding="utf-8")))
compile_flags, link_flags = flags()
ffi.set_source(
    "tamperscope._core",
    '#include "tamperscope.h"',
    sources=sources(),
    include_dirs=["csrc"],
    depends=[f"csrc/{path.name}" for path in sorted([*HERE.glob("*.h"), *HERE.glob("*.def")])],
    extra_compile_args=compile_flags,
    extra_link_args=link_flags,
    py_limited_api=True,
)
