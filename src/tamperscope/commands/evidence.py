"""``-w``: the file that the flows with findings go to, and what can go wrong with it."""

from __future__ import annotations

import os

from tamperscope.console import file, say
from tamperscope.errors import CaptureError
from tamperscope.spool import Spool, is_read_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from tamperscope.model import Finding


class EvidenceFile:
    """
    One output for all captures of a command.

    A plain file appears under its name only when it is whole; until then it is written beside it.  ``failed``: it could
    not be written, which has been said.
    """

    def __init__(self, path: str, quiet: bool) -> None:
        from tamperscope.report.evidence import Evidence

        self.failed = False
        self._path = path
        self._quiet = quiet
        self._spool: Spool | None = None
        plain = os.path.isfile(path) or not os.path.exists(path)
        self._part = f"{path}.part" if plain else path
        self._file: BinaryIO | None = None
        try:
            self._file = open(self._part, "wb")  # noqa: SIM115 - closed by finish
            self._evidence = Evidence(self._file)
        except (OSError, ValueError) as error:
            self._fail(error)

    def is_own(self, path: str) -> bool:
        """Whether a capture found in a folder is this very output, of now or of an earlier run."""
        return any(is_same(own, path) for own in (self._path, self._part))

    def source(self, path: str) -> str | Spool:
        """What to scan in place of a path: what comes from a pipe is kept, as it is read twice.  Raises OSError."""
        self._end_spool()
        if self.failed or not is_read_once(path):
            return path
        self._spool = Spool(path)
        return self._spool

    def note(self, finding: Finding) -> None:
        if not self.failed:
            self._evidence.note(finding)

    def write(self, path: str, frames: int, max_flows: int) -> None:
        """The flows of one capture, of which so many frames were scanned."""
        try:
            if not self.failed and frames:
                source = self._spool.again() if self._spool else path
                self._evidence.write(source, path, limit=frames, max_flows=max_flows)
        except (OSError, CaptureError) as error:
            self._fail(error)
        finally:
            self._end_spool()

    def finish(self) -> None:
        """All captures are done: the file gets its name."""
        if self.failed or self._file is None:
            return
        try:
            self._file.close()
            if self._part != self._path:
                os.replace(self._part, self._path)
        except OSError as error:
            self._fail(error)
            return
        self._file = None
        done = self._evidence
        if done.left_out:
            say(f"pcap-scan: {file(self._path)}: {done.left_out} packets have no comment, as there are too many")
        if not self._quiet:
            say(
                f"pcap-scan: {file(self._path)}: {done.frames} packets of {done.flows} flows, "
                f"{done.comments} with a comment"
            )

    def _fail(self, error: Exception) -> None:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        say(f"pcap-scan: {file(self._path)}: cannot be written: {reason}; nothing stands under that name")
        self.failed = True
        self.abandon()

    def abandon(self) -> None:
        """Leave nothing half written behind; after `finish` there is nothing to leave."""
        self._end_spool()
        output, self._file = self._file, None
        if output is None:
            return
        for step in (output.close, lambda: os.unlink(self._part) if self._part != self._path else None):
            try:  # noqa: SIM105 - contextlib is one import more
                step()
            except OSError:
                pass

    def _end_spool(self) -> None:
        if self._spool:
            self._spool.close()
            self._spool = None


def is_same(one: str, other: str) -> bool:
    """Whether two paths lead to one file that is there."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False
