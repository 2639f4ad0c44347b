"""The core alone: read, decode, classify, find names and set marks in C; no table leaves it.

    python benchmarks/core_run.py FILE

prints frames, IP packets and flows.  Nothing but tamperscope's binding is imported.
"""

import os
import sys


def run_core(path: str):  # type: ignore[no-untyped-def]  # typing would be an import
    """Run the core over a file; the summary (struct tscope_summary) comes back."""
    from tamperscope import core

    scan = core.Core(emit=0)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        code = core.OK
        while code == core.OK:
            code = scan.read(descriptor)
    finally:
        os.close(descriptor)
    if code != core.END:
        raise RuntimeError(f"the core stopped with code {code}")
    scan.end()
    return scan.summary()


if __name__ == "__main__":
    summary = run_core(sys.argv[1])
    print(summary.frames, summary.packets, summary.flows)
