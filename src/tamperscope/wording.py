"""
What may be said, and how: sentences for assessments, no stronger than what carries them.

A frame that contradicts its alleged sender may be called forged; many failures of one name may be said to differ from
others; silence is "consistent with".  No sentence names who is behind anything or what was meant by it.
"""

from __future__ import annotations

from tamperscope.model import iso_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tamperscope.answer import Assessment, Event, Moment

CAUSES = {
    "targeted_interference": "targeted interference",
    "platform_outage": "an outage of the platforms themselves",
    "transport_fault": "a fault of the line",
    "resolver_fault": "a fault of the resolver",
    "blanket_shutdown": "a shutdown of everything",
    "local_artefact": "something local to the clients or the capture",
}
MECHANISMS = {
    "rst_injection": "forged resets",
    "sni_drop": "connections dropped by server name",
    "http_drop": "requests dropped by name",
    "quic_drop": "QUIC dropped",
    "dns_forgery": "forged DNS answers",
    "dns_drop": "lookups dropped by name",
    "blockpage": "forged pages",
    "tls_mitm": "exchanged certificates",
    "throttling": "slowed by name",
    "ip_block": "addresses blocked",
}
_CHANGES = {
    "votes": "more attempts of more clients inside the event",
    "controls": "attempts to other names in the same minutes",
    "no_platform_outage": "the same platforms in these minutes on another network or in another place",
    "by_name": "other names on the same servers, or a frame that proves forgery",
    "unknown": "a capture of both directions that is not cut",
}


def count(number: int, noun: str) -> str:
    """ "1 client", "1,204 clients"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plain(mechanism: str) -> str:
    """A mechanism in words."""
    return MECHANISMS.get(mechanism, mechanism.replace("_", " "))


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def date(at: int) -> str:
    return (iso_time(at) or "")[:10]


def clock(at: int) -> str:
    """Hours and minutes, UTC."""
    return (iso_time(at) or "")[11:16]


def moment(one: Moment | None) -> str:
    """ "19:02 (19:00 to 19:05)"."""
    if one is None:
        return "?"
    low = clock(one.start) if one.start is not None else "?"
    high = clock(one.stop) if one.stop is not None else "?"
    return f"{clock(one.at)} ({low} to {high})"


def span(onset: Moment | None, end: Moment | None) -> str:
    """When, in words; what lies outside of the capture is said to."""
    if onset is None and end is None:
        return "All through the capture"
    if onset is None and end is not None:
        return f"{date(end.at)} until {moment(end)} UTC, from before the capture"
    if end is None and onset is not None:
        return f"{date(onset.at)} from {moment(onset)} UTC to the end of the capture"
    assert onset is not None and end is not None
    return f"{date(onset.at)} {moment(onset)} to {moment(end)} UTC"


def statement(one: Assessment, events: Sequence[Event], titles: Mapping[str, str], networks: int) -> str:
    """The sentence for people: what, when, where, and what explains it best."""
    where = f"on {len(one.networks)} of {networks} networks" if networks > 1 else f"on {one.networks[0]}"
    if one.targets == ["*"]:
        ceased = sum(event.failed_clients for event in events)
        head = f"{span(one.onset, one.end)}: {count(ceased, 'client')} {where} ceased to be seen."
        return f"{head} {_verdict(one)}"
    names = listed([titles.get(target, target) for target in one.targets])
    partly = all(event.kind == "degradation" for event in events)
    verb = "were reached only in part" if partly else "failed"
    if one.cause == "targeted_interference":
        verb = "were interfered with" if len(one.targets) > 1 else "was interfered with"
    head = f"{span(one.onset, one.end)}: {names} {verb} {where}"
    how = _how(one, events)
    return f"{head}{': ' + how if how else ''}. {_controls(one)}{_verdict(one)}{_again(one)}"


def _how(one: Assessment, events: Sequence[Event]) -> str:
    parts = []
    for network in one.networks:
        mine = [event for event in events if event.network == network]
        if not mine:
            continue
        failed, votes = sum(event.failed for event in mine), sum(event.votes for event in mine)
        ways = one.mechanisms.get(network, {})
        top = sorted(ways, key=lambda way: (-ways[way], way))[:2]
        what = " and ".join(plain(way) for way in top) if top else "failures"
        clients = max(event.failed_clients for event in mine)
        who = f"{count(clients, 'client')} or more" if len(mine) > 1 else count(clients, "client")
        parts.append(f"{what} on {network} ({failed:,} of {votes:,} votes, {who})")
    return ", ".join(parts)


def _controls(one: Assessment) -> str:
    for kind, what in (("same_server", "The same servers under other names"), ("foreign", "Names on other servers")):
        tally = one.controls.get(kind)
        if tally and tally.votes >= 10:
            state = "were untouched" if tally.failed * 20 <= tally.votes else "failed as well" if (
                tally.failed * 2 >= tally.votes) else "failed in part"  # fmt: skip
            return f"{what} {state} ({tally.failed:,} of {tally.votes:,}). "
    return ""


def _verdict(one: Assessment) -> str:
    ranked = list(one.scores)
    if one.cause == "insufficient":
        return f"Not enough to tell why: {count(one.failed, 'failed vote')} of {count(one.clients, 'client')}."
    first, second = ranked[0], ranked[1]
    if one.cause == "inconclusive":
        lacking = [gate["text"] for gate in one.gates if gate["passed"] is False]
        short = lacking and first == "targeted_interference"
        why = f", and what it needs is not all there ({lacking[0]})" if short else ""
        return (
            f"The cause cannot be told: {CAUSES[first]} (score {score(one.scores[first])}) or {CAUSES[second]} "
            f"({score(one.scores[second])}){why}."
        )
    return (
        f"Best explained by {CAUSES[first]} (score {score(one.scores[first])}; next: {CAUSES[second]} "
        f"{score(one.scores[second])})."
    )


def score(value: float) -> str:
    """Two digits; what is not certain does not read 1."""
    return ">0.99" if value > 0.99 else f"{value:.2f}"


def _again(one: Assessment) -> str:
    if not one.recurrence:
        return ""
    return f" Also on {listed(one.recurrence)}."


def changes(one: Assessment, elsewhere: int) -> list[str]:
    """What would change the verdict, or decide it."""
    out = [_CHANGES[gate["id"]] for gate in one.gates if gate["passed"] is False]
    if one.cause == "targeted_interference":
        out.append("other names of the same servers failing as well")
    if not elsewhere:
        out.append("the same platforms in these minutes on networks that have no event")
    if "domestic" not in one.controls:
        out.append("domestic destinations, named with --targets")
    seen: dict[str, None] = dict.fromkeys(out)
    return list(seen)
