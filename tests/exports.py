"""
The built extension exports its module's init symbol and nothing else: a second library of the same names cannot clash.

Usage: python tests/exports.py      (exit status 1 where there is more)
"""

from __future__ import annotations

import subprocess
import sys

ALLOWED = {"PyInit__core", "_cffi_pypyinit__core"}


def exported(path: str) -> set[str]:
    """Dynamic symbols that the library defines, without those of the linker."""
    lines = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in lines.splitlines()}
    return {name for name in names if name not in ("_init", "_fini", "__bss_start", "_edata", "_end")}


def main() -> int:
    from tamperscope import _core

    more = exported(_core.__file__) - ALLOWED
    if more:
        print(f"exported besides the init symbol: {', '.join(sorted(more))}")
    return 1 if more else 0


if __name__ == "__main__":
    sys.exit(main())
