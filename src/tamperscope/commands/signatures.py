"""``pcap-scan signatures``: what is looked for, who has described it, and what else leaves the same trace."""

from __future__ import annotations

from tamperscope.arguments import Grammar
from tamperscope.console import OK, USAGE, Output, Unwritten, say, shown
from tamperscope.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tamperscope.catalogue import Catalogue

HELP = """\
usage: pcap-scan signatures [ID]

List what is looked for.  With an ID: the whole entry, with its weights, its
sources, and the innocent processes that leave the same trace.

ID is that of an entry, of an evidence as findings give it, or of a mechanism.

  -h, --help       print this

exit status: 0 printed; 2 wrong usage, or no such ID; 5 the output cannot be
written.
"""

GRAMMAR = Grammar({"-h": "help", "--help": "help"}, {}, {})


class _Options:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.show: str | None = None


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.  Raises UsageError."""
    options = _Options()
    GRAMMAR.read(argv, options)
    if len(options.words) > 1:
        raise UsageError("signatures takes one ID")
    output = Output(False)
    try:
        if options.show:
            output.write(HELP)
        else:
            status = _print(options.words[0] if options.words else None, output)
            if status != OK:
                return status
        output.flush()
    except Unwritten as error:
        return error.status
    return OK


def _print(id: str | None, output: Output) -> int:
    from tamperscope import catalogue, weigh
    from tamperscope.report.entries import Entries

    known = catalogue.load()
    entries = Entries(output.write, output.width(), output.colour(), not output.is_unicode)
    if id is None or id in catalogue.MECHANISMS:
        chosen = list(known) if id is None else known.of(id)
        entries.overview(sorted(chosen, key=lambda one: (catalogue.MECHANISMS.index(one.mechanism), one.kind != "law")))
        return OK
    weights = weigh.load()
    carried = [one for one in known if one.id == id or id in one.evidence]
    shown_by = {one.mechanism for one in carried if id in one.evidence}
    weighed = [mechanism for mechanism, name in weights.entries if name == id and mechanism not in shown_by]
    for number, one in enumerate(carried):
        if number:
            entries.line()
        entries.entry(one, weights)
    for number, mechanism in enumerate(weighed):
        if carried or number:
            entries.line()
        entries.weight(mechanism, id, weights)
    if not carried and not weighed:
        say(f"pcap-scan: signatures: no entry {shown(id)}{_near(id, known)}")
        return USAGE
    return OK


def _near(id: str, known: Catalogue) -> str:
    from difflib import get_close_matches

    near = get_close_matches(id, [one.id for one in known], 3)
    return f"; near: {', '.join(near)}" if near else "; without an ID all are listed"
