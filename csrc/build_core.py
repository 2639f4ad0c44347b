"""cffi builder of tamperscope._core: the cdef is cut out of the header, so no prototype is written twice."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
import tempfile
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
        if can_optimize_at_link():
            compile_flags += ["-flto=auto"]
            link_flags += ["-flto=auto", "-O2"]
    return compile_flags, link_flags


def can_optimize_at_link() -> bool:
    """Whether compiler and linker can inline across files, which the decoders are written for.

    Asked of the compiler itself with two lines of C; TAMPERSCOPE_NO_LTO answers no.
    """
    if os.environ.get("TAMPERSCOPE_NO_LTO"):
        return False
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        command = [*compiler, "-O2", "-flto=auto", str(source), "-o", str(source.with_suffix(""))]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


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
