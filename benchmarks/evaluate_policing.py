#!/usr/bin/env python3
"""How well policers are told from queues and chance: the token bucket test on labelled traces.

    python benchmarks/evaluate_policing.py [FOLDER]      default: policing/ of the corpus (TAMPERSCOPE_CORPUS)

FOLDER has labels.json (file, kind, policed, policer_visible, rate_bps, server) beside the captures, which are taken at
the sender: a packet was lost where its bytes are sent again.  Exit status 1 below the levels to reach.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tamperscope import open_capture
from tamperscope.token_bucket import Fit, fit

ROOT = Path(__file__).resolve().parents[1]
HEADERS = 52  # IPv4, TCP with time stamps: what a policer counts besides the payload
FOUND, RATE_WITHIN, FALSE = 0.9, 0.15, 1


class Sender:
    """One sender's data packets: when, how many bytes, lost or not, and the round trip where it is unambiguous."""

    def __init__(self) -> None:
        self.time: list[float] = []
        self.start: list[int] = []
        self.end: list[int] = []
        self.lost: list[bool] = []
        self.delay: list[float] = []
        self._again: set[int] = set()  # rows that repeat
        self._latest: dict[int, int] = {}
        self._high = self._acked = 0
        self._waits = 0  # first row that is not acknowledged
        self._repeated_at = -1.0

    def sent(self, time: float, start: int, length: int) -> None:
        """A data packet; bytes that were sent before, and not acknowledged, were lost then."""
        if start < self._high:
            self._repeated_at = time
            self._again.add(len(self.time))
            if start + length > self._acked and start in self._latest:
                self.lost[self._latest[start]] = True
        self._latest[start] = len(self.time)
        self._high = max(self._high, start + length)
        self.time.append(time)
        self.start.append(start)
        self.end.append(start + length)
        self.lost.append(False)
        self.delay.append(float("nan"))

    def acknowledged(self, time: float, upto: int) -> None:
        """An acknowledgement times what it covers, unless something was sent again since (Karn)."""
        if upto >= 1 << 31 or upto <= self._acked:
            return
        self._acked = upto
        while self._waits < len(self.time) and self.end[self._waits] <= upto:
            if self.time[self._waits] > self._repeated_at and self._waits not in self._again:
                self.delay[self._waits] = time - self.time[self._waits]
            self._waits += 1

    def fit(self) -> Fit | None:
        """What the estimator says."""
        size = np.array(self.end) - np.array(self.start) + HEADERS
        return fit(np.array(self.time), size, np.array(self.lost), np.array(self.delay))


def read(path: Path, port: int) -> Sender:
    """The data of the server at `port`; its first SYN+ACK starts the count of bytes."""
    sender, base = Sender(), None
    names = ("time_ns", "seq", "ack", "flags", "payload_length", "source_port", "destination_port")
    with open_capture(str(path)) as capture:
        for batch in capture:
            columns = [getattr(batch.packets, name).tolist() for name in names]
            for time_ns, seq, ack, flags, length, source, destination in zip(*columns, strict=True):
                if source == port and flags & 2:
                    base = seq + 1 if base is None else base
                elif base is not None and source == port and length:
                    sender.sent(time_ns / 1e9, (seq - base) & 0xFFFFFFFF, length)
                elif base is not None and destination == port and flags & 16:
                    sender.acknowledged(time_ns / 1e9, (ack - base) & 0xFFFFFFFF)
    return sender


def judge(folder: Path, label: dict[str, Any]) -> tuple[str, bool, bool]:
    """A line to print; called policed; and with the right rate."""
    found = read(folder / label["file"], int(label["server"].rpartition(":")[2])).fit()
    policed = bool(found and found.kind == "policing")
    right = policed and abs(found.rate * 8 / label["rate_bps"] - 1) <= RATE_WITHIN if found else False
    said = (
        f"{found.kind:<11}{found.rate * 8e-6:>7.2f} Mbit/s {found.burst / 1e3:>8.0f} kB {found.odds:>7.1f}"
        if found
        else "too few losses, or none by any rate"
    )
    return f"{label['file'].removesuffix('.pcap.xz'):<30}{said}", policed, right


def main(argv: list[str] | None = None) -> int:
    corpus = Path(os.environ.get("TAMPERSCOPE_CORPUS", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=corpus / "policing")
    folder = parser.parse_args(argv).folder
    if not (folder / "labels.json").exists():
        print(f"no labels.json in {folder}: nothing evaluated")
        return 0
    visible = found = rates = others = wrong = 0
    print(f"{'trace':<30}{'kind':<11}{'rate':>14} {'burst':>11} {'odds':>7}")
    for label in json.loads((folder / "labels.json").read_text()):
        line, policed, right = judge(folder, label)
        print(line)
        if label.get("policer_visible"):
            visible, found, rates = visible + 1, found + policed, rates + right
        elif not label["policed"]:
            others, wrong = others + 1, wrong + policed
    print(f"\nrecognised as policed: {found} of {visible}; with the rate within {RATE_WITHIN:.0%}: {rates}")
    print(f"called policed and not: {wrong} of {others}")
    return int(found < FOUND * visible or wrong > FALSE)


if __name__ == "__main__":
    sys.exit(main())
