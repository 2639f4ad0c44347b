"""The catalogue for people: a list of what is looked for, and one entry with its weights, sources and look-alikes."""

from __future__ import annotations

from tamperscope.attribution import UNLISTED
from tamperscope.report.lines import Lines, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tamperscope.catalogue import Signature, Source
    from tamperscope.weigh import Weights

BASES = {
    "read": "read in full", "extract": "known from an extract", "excerpt": "known from an excerpt",
    "recalled": "from memory, not read again",
}  # fmt: skip
KINDS = {"law": "holds for any injector", "family": "a known page, or the habit of a known box"}
STRENGTHS = {
    "proof": "no look-alike makes it once those below are excluded",
    "statistical": "needs counts or controls",
    "context": "supports, never decides",
}


class Entries(Lines):
    """Prints signatures."""

    def overview(self, signatures: Iterable[Signature]) -> None:
        """A line each, by mechanism; families apart from laws."""
        mechanism = ""
        family = False
        for one in signatures:
            if one.mechanism != mechanism:
                if mechanism:
                    self.line()
                self.wrap(self.paint("bold", one.mechanism))
                mechanism, family = one.mechanism, False
            if one.kind == "family" and not family:
                family = True
                self.wrap("known pages and boxes:", "  ")
            self.wrap(f"  {one.id:<24} {one.strength:<11} {one.title}", "", " " * 39 if self._width >= 72 else "      ")

    def entry(self, one: Signature, weights: Weights) -> None:
        """Everything about one."""
        self.wrap(f"{self.paint('bold', one.id)}  {one.title}", "", "    ")
        self.wrap(f"{one.mechanism}, {one.kind} ({KINDS[one.kind]})")
        self.wrap(f"{one.strength}: {STRENGTHS[one.strength]}")
        self.line()
        self.wrap(one.predicate)
        if one.evidence:
            self._head("evidence in findings (log10 of the likelihood ratio)")
            for id in one.evidence:
                self._weight(one.mechanism, id, weights)
        if one.match:
            self._head("fields")
            for key, value in one.match.items():
                self.wrap(f"{words(key)}: {_value(value)}", "  ", "      ")
            if one.worth is not None:
                self.wrap(f"worth {one.worth:+.1f} where all fit ({one.why}); a box not listed +{UNLISTED:.1f}", "  ")
        if one.seen:
            self._head("seen")
            for year, where in one.seen:
                self.wrap(f"{year}  {self.text(where)}", "  ", "        ")
        self._head("what looks alike, and what tells it apart")
        for other in one.look_alikes:
            self.wrap(f"{words(other.id)}: {other.what}", "  ", "      ")
            self.wrap(f"told apart: {other.separates}", "      ")
        self._head("sources")
        for source in one.sources:
            self._source(source)

    def weight(self, mechanism: str, id: str, weights: Weights) -> None:
        """One evidence id as findings give it, where no signature carries it."""
        self.wrap(f"{self.paint('bold', id)}  evidence of {mechanism}")
        self.line()
        self._weight(mechanism, id, weights)

    def _weight(self, mechanism: str, id: str, weights: Weights) -> None:
        one = weights.of(mechanism, id)
        facts = [f"{one.weight:+.1f}", f"group {words(one.group)}"]
        if one.proof:
            facts.append("a proof")
        if one.class_:
            facts.append(words(one.class_))
        self.wrap(f"{id}  {', '.join(facts)}", "  ", "      ")
        self.wrap(f'"{one.text}"', "      ")
        if one.why:
            self.wrap(f"why: {one.why}", "      ")

    def _head(self, text: str) -> None:
        self.line()
        self.wrap(self.paint("bold", text))

    def _source(self, one: Source) -> None:
        self.wrap(f"{one.id}: {one.title}, {one.year}. {one.where} ({BASES[one.basis]})", "  ", "      ")


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
