"""``pcap-scan explain``: one flow's packets, and what speaks for and against."""

from __future__ import annotations

import sys

from tamperscope.arguments import Grammar
from tamperscope.console import (
    OK,
    PARTIAL,
    UNREADABLE,
    USAGE,
    Interrupted,
    Output,
    Signals,
    Unwritten,
    file,
    os_error,
    say,
)
from tamperscope.errors import CaptureError, NotThereError, UsageError
from tamperscope.report.escape import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tamperscope.explain import Explanation

HELP = """\
usage: pcap-scan explain CAPTURE --flow N | --frame N

Show one flow: its packets in order, which of them are forged, genuine or the
trigger, and every fact for and against with its weight.  Also for flows about
which nothing is reported: it says what was looked at, and why.

  --flow N         the flow with this number, as findings give it
  --frame N        the flow, or the DNS question, that this frame belongs to
  -v               every packet; without it those without news are summed up
  --max-flows N    as in the scan whose numbers are asked for (default 1048576)
  -h, --help       print this

CAPTURE may be - for standard input.  The whole capture is read, since what
other flows did is evidence, too; with --frame it is read twice.

The columns are: the frame's number, seconds since the flow began, direction
(-> to the server, <- from it, ** from neither), TCP flags, sequence numbers
from:to and acknowledgement relative to the first ones, IP TTL, IP ID.
Weights are log10 of how much likelier a fact is under interference than under
the most likely innocent process; pcap-scan signatures WORD has their sources.

exit status: 0 explained; 2 wrong usage, or no such flow or frame; 3 nothing of
the capture can be read; 4 only a part of it; 5 the output cannot be
written; 130, 143 interrupted, terminated.
"""

GRAMMAR = Grammar(
    {"-v": "verbose", "--verbose": "verbose", "-h": "help", "--help": "help"},
    {"--flow": "flow", "--frame": "frame", "--max-flows": "max_flows", "-r": "words"},
    {"--flow": 10**18 - 1, "--frame": 10**18 - 1, "--max-flows": 1 << 30},
)


class _Options:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.show: str | None = None
        self.verbose = False
        self.flow: int | None = None
        self.frame: int | None = None
        self.max_flows = 1 << 20


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.  Raises UsageError."""
    options = _Options()
    GRAMMAR.read(argv, options)
    output = Output(False)
    if options.show:
        output.write(HELP)
        output.flush()
        return OK
    if len(options.words) != 1:
        raise UsageError("explain takes one capture" if options.words else "explain: no capture given")
    if (options.flow is None) == (options.frame is None):
        raise UsageError("explain: give --flow N or --frame N")
    signal_state = Signals()
    try:
        return _explained(options, output, signal_state)
    except Unwritten as error:
        return error.status
    except Interrupted:
        return 128 + signal_state.number
    finally:
        signal_state.restore()


def _explained(options: _Options, output: Output, signal_state: Signals) -> int:
    path = options.words[0]
    try:
        with signal_state:
            told = _told(path, options)
    except NotThereError as error:
        say(f"pcap-scan: {file(path)}: {error}")
        return USAGE
    except CaptureError as error:
        say(f"pcap-scan: {file(path)}: {visible(error.text, limit=1024)}")
        return UNREADABLE
    except OSError as error:
        say(f"pcap-scan: {file(path)}: {os_error(path, error).text}")
        return UNREADABLE
    from tamperscope.report.ladder import Ladder

    ladder = Ladder(output.write, output.width(), output.colour(), not output.is_unicode)
    ladder.explanation(told, options.verbose)
    output.flush()
    damage = [notice for notice in told.notices if notice.level == "error"]
    for notice in damage:
        say(f"pcap-scan: {file(path)}: {visible(notice.text, limit=1024)}")
    return PARTIAL if damage else OK


def _told(path: str, options: _Options) -> Explanation:
    from tamperscope.explain import explain

    numbers: dict[str, Any] = {"flow": options.flow, "frame": options.frame, "max_flows": options.max_flows}
    if path != "-" or options.frame is None:
        return explain(path, **numbers)
    from shutil import copyfileobj
    from tempfile import TemporaryFile

    with TemporaryFile() as spool:  # read twice
        copyfileobj(sys.stdin.buffer, spool, 1 << 20)
        spool.seek(0)
        return explain(spool, **numbers)
