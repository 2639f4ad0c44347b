"""Where captures are: those of the repository, and the larger corpus beside it, which may be missing."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PCAPS = ROOT / "pcaps"
DEMO = PCAPS / "demo.pcap"
CORPUS = pathlib.Path(os.environ.get("TAMPERSCOPE_CORPUS", ROOT.parent / "shared")).resolve()
CASES = CORPUS / "cases"
GENERATOR = CORPUS / "bench" / "bench_gen.py"

needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="no labelled cases (TAMPERSCOPE_CORPUS says where)")
needs_generator = pytest.mark.skipif(not GENERATOR.exists(), reason="no bench_gen.py (TAMPERSCOPE_CORPUS says where)")


def generated(folder: pathlib.Path, profile: str, packets: int) -> pathlib.Path:
    """A capture made by the corpus' generator; the same arguments give the same bytes."""
    path = folder / f"{profile}-{packets}.pcap"
    argv = [sys.executable, str(GENERATOR), str(path), "--profile", profile, "--packets", str(packets), "--seed", "1"]
    subprocess.run(argv, check=True, capture_output=True)
    return path
