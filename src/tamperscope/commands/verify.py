"""``pcap-scan verify``: whether the files of a report are still those it was made of."""

from __future__ import annotations

from tamperscope.arguments import Grammar
from tamperscope.console import FOUND, OK, PARTIAL, UNREADABLE, Output, file, os_error, say
from tamperscope.errors import UsageError
from tamperscope.report.escape import quoted

HELP = """\
usage: pcap-scan verify MANIFEST

Hold a report to its manifest: the hashes of the captures, of the report
itself and of the rules and tables in this installation.

  -q               only what is not the same
  -h, --help       print this

A capture is looked for where it was when it was scanned, then beside the
manifest; the report beside it.

exit status: 0 all the same; 1 something differs; 2 wrong usage; 3 the
manifest cannot be read; 4 something is missing or was read from a pipe.
"""

GRAMMAR = Grammar({"-q": "quiet", "--quiet": "quiet", "-h": "help", "--help": "help"}, {}, {})


class _Options:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.show: str | None = None
        self.quiet = False


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
        raise UsageError("verify takes one manifest")
    path = options.words[0]
    from tamperscope.report.manifest import check

    try:
        states = check(path)
    except OSError as error:
        say(f"pcap-scan: {file(path)}: {os_error(path, error).text}")
        return UNREADABLE
    except (ValueError, RecursionError) as error:
        say(f"pcap-scan: {file(path)}: not a manifest: {str(error)[:200]}")
        return UNREADABLE
    for kind, name, state in states:
        if state != "same" or not options.quiet:
            output.write(f"{state:<8} {kind:<7} {quoted(name)}\n")
    output.flush()
    words = {state for _, _, state in states}
    return FOUND if "differs" in words else PARTIAL if words - {"same"} else OK
