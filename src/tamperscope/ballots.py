"""
Flows and DNS questions to ballots: what is counted, and merged by summing equal keys.

Columns all the way (numpy): rows of the core's ``tries`` come in batches, are reduced to `MEMBER` rows
(`MEMBER.itemsize` bytes each), and at the end grouped to attempts, which become ballots (`BALLOT.itemsize` bytes
each).

An attempt is one intention of a client: all that it starts towards a target within 30 s of the first of it, so
retries, Happy Eyeballs pairs, QUIC beside TCP and the lookup before the connection are one.  It belongs to the minute
of its first packet.  At each point of the way (``dns``, ``connect``, ``name``, ``transfer``) it is ok, down,
interfered with by a mechanism, or unknown; as a whole (``attempt``) it is what became of the intention, ok where
anything of it got through, ``degraded`` where something else of it did not.  Grouping waits for all rows, so any
split of the input gives the same ballots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tamperscope import core
from tamperscope.catalogue import MECHANISMS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tamperscope.targets import Targets

    Array = np.ndarray[Any, Any]

# DEGRADED: reached, though something of the attempt failed; INTERFERED + i: by MECHANISMS[i]
UNKNOWN, OK, DEGRADED, DOWN, INTERFERED = range(5)
NONE = 255  # did not come so far
DNS, CONNECT, NAME, TRANSFER, ATTEMPT = range(5)  # as in tamperscope.answer.POINTS
NAMELESS = 0xFFFF
MINUTE = 60 * 10**9
STRATUM = 10  # minutes
TOGETHER = 30_000  # ms: what a client starts towards a target within them is one attempt
LATE = 10 * 10**9  # what began in the last seconds of a capture may have gone on
NO_NAME_AFTER = 3600 * 10**9  # an address learned longer ago may be somebody else's by now

MEMBER = np.dtype(
    [
        ("client", "u8"), ("server", "u8"), ("name", "u8"), ("time", "i8"), ("flow", "u8"), ("transaction", "u8"),
        ("rtt", "u4"), ("packets", "u4"), ("retransmissions", "u4"), ("facts", "u4"), ("network", "u2"),
        ("target", "u2"), ("capture", "u2"), ("port", "u2"), ("outcome", "u1"), ("stage", "u1"), ("rcode", "u1"),
        ("protocol", "u1"),
    ]
)  # fmt: skip
LEARNED = np.dtype([("pair", "u8"), ("time", "i8"), ("name", "u8"), ("network", "u2"), ("target", "u2")])
BALLOT = np.dtype(
    [("client", "u8"), ("minute", "i4"), ("count", "u4"), ("network", "u2"), ("target", "u2"), ("point", "u1"),
     ("outcome", "u1")]
)  # fmt: skip
STRATA = np.dtype(
    [("server", "u8"), ("ten", "i4"), ("votes", "u4"), ("failed", "u4"), ("voiced", "u4"), ("network", "u2"),
     ("target", "u2"), ("lookups", "u1")]
)  # fmt: skip
PATH = np.dtype(
    [("ten", "i4"), ("rtts", "u4"), ("log_rtt", "f8"), ("packets", "u8"), ("retransmissions", "u8"), ("network", "u2"),
     ("target", "u2")]
)  # fmt: skip
SEEN = np.dtype([("minute", "i4"), ("network", "u2"), ("rows", "u4")])
FOUND = np.dtype(
    [("id", "u8"), ("client", "u8"), ("time", "i8"), ("network", "u2"), ("target", "u2"), ("mechanism", "u1"),
     ("proven", "?")]
)  # fmt: skip

_POWERS = np.ones(256, np.uint64)
_POWERS[1:] = np.cumprod(np.full(255, 0x9E3779B97F4A7C15, np.uint64))
_LOWER = np.arange(256, dtype=np.uint64)
_LOWER[65:91] += np.uint64(32)


def mix(words: Array) -> Array:
    """uint64 of any shape to uint64 of the same, well mixed (the finaliser of splitmix64)."""
    x = words + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def address_keys(addresses: Array) -> Array:
    """
    Addresses of 16 bytes, shape (n, 16), to keys of 64 bits, shape (n,): the same in every run and on every machine.

    Who makes two addresses meet in one key makes two clients one, which can only weaken what is said.
    """
    halves = np.ascontiguousarray(addresses).view("<u8").reshape(-1, 2)
    return mix(mix(halves[:, 0]) ^ halves[:, 1])


def name_keys(text: Array, offsets: Array, lengths: Array) -> Array:
    """Keys of 64 bits of names in `text` (uint8), without regard to case; 0 for an empty name."""
    keys = np.zeros(len(offsets), np.uint64)
    some = np.flatnonzero(lengths)
    if not len(some):
        return keys
    size = np.minimum(lengths[some], 255).astype(np.int64)
    starts = np.cumsum(size) - size
    place = np.arange(int(size.sum())) - np.repeat(starts, size)
    letters = _LOWER[text[place + np.repeat(offsets[some].astype(np.int64), size)]]
    sums = np.add.reduceat((letters + np.uint64(1)) * _POWERS[place], starts)
    keys[some] = mix(sums ^ (size.astype(np.uint64) << np.uint64(56)))
    return keys


class Tries:
    """
    Collects what the core counted, over batches and captures.

    Args:
        targets: the table of targets.
    """

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self._rows: list[Array] = []
        self._learned: list[Array] = []
        self._known: dict[int, int] = {}
        self._found: list[Array] = []

    def add(
        self,
        network: int | Array,
        capture: int,
        rows: Array,
        learned: Array,
        text: bytes,
        networks: Array | None = None,
    ) -> None:
        """
        One batch of the core.

        Args:
            network: number of the network of all rows, or one for each row, shape (n,).
            capture: number of the capture.
            rows: ``tscope_try``, shape (n,); learned: ``tscope_learned``; text: the batch's names.
            networks: of the learned rows, where `network` is an array.
        """
        letters = np.frombuffer(text, np.uint8) if text else np.zeros(1, np.uint8)
        keys, numbers = self._targets(rows, letters)
        out = np.zeros(len(rows), MEMBER)
        out["client"], out["server"] = address_keys(rows["client"]), address_keys(rows["server"])
        out["name"], out["target"] = keys, numbers
        out["network"], out["capture"] = network, capture
        for ours, theirs in (
            ("time", "first_ns"), ("flow", "flow"), ("transaction", "transaction"), ("rtt", "rtt_us"),
            ("packets", "packets"), ("retransmissions", "retransmissions"), ("facts", "facts"), ("port", "server_port"),
            ("outcome", "outcome"), ("stage", "stage"), ("rcode", "rcode"), ("protocol", "protocol"),
        ):  # fmt: skip
            out[ours] = rows[theirs]
        self._rows.append(out)
        if len(learned):
            keys, numbers = self._targets(learned, letters)
            more = np.zeros(len(learned), LEARNED)
            more["pair"] = address_keys(learned["client"]) ^ mix(address_keys(learned["address"]))
            more["time"], more["name"], more["target"] = learned["time_ns"], keys, numbers
            more["network"] = network if networks is None else networks
            self._learned.append(more)

    def _targets(self, rows: Array, letters: Array) -> tuple[Array, Array]:
        """Name keys and target numbers; NAMELESS without a name.  The loop is over names not seen before."""
        keys = name_keys(letters, rows["name_offset"], rows["name_length"])
        names, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        numbers = np.full(len(names), NAMELESS, np.uint16)
        for i, (key, at) in enumerate(zip(names.tolist(), first.tolist(), strict=True)):
            if not key:
                continue
            number = self._known.get(key)
            if number is None:
                start, length = int(rows["name_offset"][at]), int(rows["name_length"][at])
                number = self.targets.find(letters[start : start + length].tobytes())
                if len(self._known) >= 1 << 20:
                    self._known.clear()
                self._known[key] = number
            numbers[i] = number
        return keys, numbers[inverse]

    def found(self, findings: Array) -> None:
        """
        Findings that accuse (confirmed or likely): uint64, shape (n, 5).

        Columns: number of the capture, flow, transaction or 0, index into MECHANISMS + 256 where a frame proves it, and
        the first 64 bits of the id.
        """
        if len(findings):
            self._found.append(findings)

    def merge(self, other: Tries) -> None:
        """Take over what another collector of the same table has; numbers of networks and captures are common."""
        self._rows += other._rows
        self._learned += other._learned
        self._found += other._found

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def count(self, ends: dict[int, int] | None = None) -> Counted:
        """Group everything; `ends`: capture number to the time of its last frame in ns."""
        rows = np.concatenate(self._rows) if self._rows else np.zeros(0, MEMBER)
        _learn_names(rows, np.concatenate(self._learned) if self._learned else np.zeros(0, LEARNED))
        codes, found = _codes(rows, np.concatenate(self._found) if self._found else np.zeros((0, 5), np.uint64))
        states = _states(rows, codes, _cut(rows, ends or {}), _one_sided(rows))
        return Counted(rows, states, found)


class Counted:
    """
    What was counted: tables without any order of arrival in them.

    ``ballots`` (`BALLOT`): sorted by all keys. ``strata`` (`STRATA`): votes by server and ten minutes; ``voiced``:
    of the failed ones those to which the server itself said no; ``lookups`` is 1 where the server is a resolver.
    ``paths`` (`PATH`): round trips and losses by ten minutes, of flows that got through. ``seen`` (`SEEN`): minutes
    of a network in which anything began. ``clients``: {network: distinct clients}. ``found`` (`FOUND`): findings
    that accuse, each with the target of its flow.
    """

    def __init__(self, rows: Array, states: Array, found: Array) -> None:
        self.found = found
        named = rows["target"] != NAMELESS
        self.nameless = int(len(rows) - named.sum())
        self.seen = _seen(rows)
        self.clients = _clients(rows)
        rows, states = rows[named], states[named]
        self.ballots = merge([_ballots(rows, states)])
        self.strata = _strata(rows, states)
        self.paths = _paths(rows[states[:, TRANSFER] == OK])


def merge(ballots: Sequence[Array]) -> Array:
    """Ballots of several sources to one table: equal keys summed, sorted by network, target, point, minute, client."""
    return _sum(
        np.concatenate(list(ballots)), ("network", "target", "point", "minute", "client", "outcome"), ("count",)
    )


def _sum(rows: Array, keys: tuple[str, ...], sums: tuple[str, ...]) -> Array:
    if not len(rows):
        return rows
    rows = rows[np.lexsort([rows[key] for key in reversed(keys)])]
    new = np.zeros(len(rows), bool)
    new[0] = True
    for key in keys:
        new[1:] |= rows[key][1:] != rows[key][:-1]
    starts = np.flatnonzero(new)
    out = rows[starts]
    for name in sums:
        out[name] = np.add.reduceat(rows[name], starts)
    return out


# ---------------------------------------------------------------- rows


def _learn_names(rows: Array, learned: Array) -> None:
    """A flow without a name gets that by which its client last learned the address."""
    lost = np.flatnonzero((rows["target"] == NAMELESS) & (rows["transaction"] == 0))
    if not len(lost) or not len(learned):
        return
    pair = np.concatenate([learned["pair"], rows["client"][lost] ^ mix(rows["server"][lost])])
    network = np.concatenate([learned["network"], rows["network"][lost]])
    time = np.concatenate([learned["time"], rows["time"][lost]])
    asks = np.arange(len(pair)) >= len(learned)
    # Of two names learned in one nanosecond the lesser key: the order of arrival must not matter.
    tie = np.concatenate([learned["name"], np.zeros(len(lost), np.uint64)])
    order = np.lexsort((tie, asks, time, pair, network))
    latest = np.maximum.accumulate(np.where(asks[order], -1, np.arange(len(order))))
    at = np.flatnonzero(asks[order] & (latest >= 0))
    source, asking = order[latest[at]], order[at]
    fits = (pair[source] == pair[asking]) & (network[source] == network[asking])
    fits &= time[asking] - time[source] <= NO_NAME_AFTER
    row = lost[asking[fits] - len(learned)]
    rows["target"][row] = learned["target"][source[fits]]
    rows["name"][row] = learned["name"][source[fits]]


def _codes(rows: Array, findings: Array) -> tuple[Array, Array]:
    """For each row the code of the mechanism that a finding names, else 0; and findings with what their rows say."""
    codes = np.zeros(len(rows), np.uint8)
    if not len(findings) or not len(rows):
        return codes, np.zeros(0, FOUND)
    units = _unit(rows["capture"].astype(np.uint64), rows["flow"], rows["transaction"])
    order = np.argsort(units, kind="stable")
    wanted = _unit(findings[:, 0], findings[:, 1], findings[:, 2])
    at = order[np.minimum(np.searchsorted(units[order], wanted), len(order) - 1)]
    known = units[at] == wanted
    at, findings = at[known], findings[known]
    mechanism = (findings[:, 3] & np.uint64(255)).astype(np.uint8)
    codes[at] = INTERFERED + mechanism
    out = np.zeros(len(at), FOUND)
    for key in ("network", "target", "client", "time"):
        out[key] = rows[key][at]
    out["mechanism"], out["proven"], out["id"] = mechanism, findings[:, 3] >> np.uint64(8) != 0, findings[:, 4]
    return codes, out[np.lexsort((out["id"], out["time"]))]


def _unit(capture: Array, flow: Array, transaction: Array) -> Array:
    return mix(mix(mix(capture) ^ flow) ^ transaction)


def _cut(rows: Array, ends: dict[int, int]) -> Array:
    """Rows that the capture's end may have cut before their time."""
    last = np.full(1 << 16, np.iinfo(np.int64).max)
    for capture, end in ends.items():
        last[capture] = end - LATE
    cut: Array = (rows["facts"] & core.constant("FACT_CUT_BY_END") != 0) & (rows["time"] > last[rows["capture"]])
    return cut


def _one_sided(rows: Array) -> Array:
    """Rows of captures in which one direction is missing as good as everywhere: an absence there is no news."""
    flows = rows["transaction"] == 0
    sides = rows["facts"] & core.constant("FACT_ONE_WAY") != 0
    all_ = np.bincount(rows["capture"][flows], minlength=1)
    one = np.bincount(rows["capture"][flows & sides], minlength=len(all_))
    bare = (all_ >= 10) & (one > 0.95 * all_)
    known = np.zeros(1 << 16, bool)
    known[: len(bare)] = bare
    mine: Array = known[rows["capture"]]
    return mine


def _states(rows: Array, found: Array, cut: Array, one_sided: Array) -> Array:
    """uint8, shape (n, 4): what each row shows at each point of the way."""
    out = np.full((len(rows), 4), NONE, np.uint8)
    is_ = _Words(rows)
    silent = is_.outcome("timeout", "no_answer")
    doubt = (cut & silent) | (one_sided & silent)

    def put(where: Array, point: int, state: int) -> None:
        out[where, point] = state

    lookup = is_.stage("dns")
    refused = (rows["rcode"] == 2) | (rows["rcode"] == 5)  # SERVFAIL, REFUSED: the resolver has no answer
    put(lookup, DNS, UNKNOWN)
    put(lookup & is_.outcome("ok") & ~refused, DNS, OK)
    put(lookup & (is_.outcome("no_answer") | (is_.outcome("ok") & refused)), DNS, DOWN)
    syn = is_.stage("syn")
    put(syn, CONNECT, UNKNOWN)
    put(syn & is_.outcome("timeout", "refused", "unreachable"), CONNECT, DOWN)
    shaken = is_.stage("handshake")
    put(shaken, CONNECT, OK)
    put(shaken & is_.outcome("ok"), NAME, OK)
    asked = is_.stage("after_name", "after_request")
    put(asked & (rows["protocol"] == 6), CONNECT, OK)
    put(asked, NAME, UNKNOWN)
    put(asked & is_.outcome("timeout", "reset", "tls_alert", "refused", "unreachable"), NAME, DOWN)
    # Who sends a hello got a SYN+ACK: a TCP flow of one side alone was captured from one side alone.
    blind = (rows["protocol"] == 6) & (rows["facts"] & core.constant("FACT_ONE_WAY") != 0)
    put(asked & blind, NAME, UNKNOWN)
    moved = is_.stage("transfer")
    for point in (CONNECT, NAME, TRANSFER):
        put(moved, point, OK)
    for point in range(4):
        put(doubt & (out[:, point] == DOWN), point, UNKNOWN)
    _interfered(out, rows, found, is_)
    return out


def _interfered(out: Array, rows: Array, found: Array, is_: _Words) -> None:
    """What findings say, at the point where their mechanism acts."""
    late, early = is_.stage("transfer"), is_.stage("syn", "handshake", "none")
    for i, mechanism in enumerate(MECHANISMS):
        mine = found == INTERFERED + i
        if not mine.any():
            continue
        if mechanism.startswith("dns_"):
            out[mine, DNS] = INTERFERED + i
        elif mechanism == "ip_block":
            out[mine, CONNECT] = INTERFERED + i
            out[mine, NAME] = out[mine, TRANSFER] = NONE
        elif mechanism in ("blockpage", "tls_mitm"):
            out[mine, NAME] = INTERFERED + i
            out[mine, TRANSFER] = NONE
        elif mechanism == "throttling":
            out[mine, TRANSFER] = INTERFERED + i
        else:
            out[mine & late, TRANSFER] = INTERFERED + i
            out[mine & early, CONNECT] = INTERFERED + i
            out[mine & ~late & ~early, NAME] = INTERFERED + i


class _Words:
    """Masks of rows by the words of their enumerations."""

    def __init__(self, rows: Array) -> None:
        self._rows = rows

    def outcome(self, *words: str) -> Array:
        return np.isin(self._rows["outcome"], [core.constant("OUT_" + word.upper()) for word in words])

    def stage(self, *words: str) -> Array:
        return np.isin(self._rows["stage"], [core.constant("STAGE_" + word.upper()) for word in words])


# ---------------------------------------------------------------- attempts


def attempts(rows: Array) -> tuple[Array, Array]:
    """
    Rows to attempts: (order, starts), the rows sorted and where in that order each attempt begins.

    An attempt ends 30 s after its first row began.  Rows of ``other`` names are grouped by name, as they are not one
    place.
    """
    name = np.where(rows["target"] == 0, rows["name"], np.uint64(0))
    order = np.lexsort((rows["transaction"], rows["flow"], rows["time"], name, rows["target"], rows["client"],
                        rows["network"]))  # fmt: skip
    if not len(order):
        return order, order
    sorted_ = rows[order]
    name = name[order]
    first = np.zeros(len(rows), bool)
    first[0] = True
    for column in (sorted_["network"], sorted_["client"], sorted_["target"], name):
        first[1:] |= column[1:] != column[:-1]
    since = (sorted_["time"] - sorted_["time"].min()) // 1_000_000
    place = (np.cumsum(first) - 1) * (int(since.max()) + 2 * TOGETHER) + since
    # The first row too late for an attempt begins the next; whoever can be reached so from a first row is a beginning.
    jump = np.append(np.searchsorted(place, place + TOGETHER), len(rows))
    reached = np.append(first, True)
    while True:
        new = jump[np.flatnonzero(reached)]
        if np.all(reached[new]):
            return order, np.flatnonzero(reached[:-1])
        reached[new] = True
        jump = jump[jump]


def _ballots(rows: Array, states: Array) -> Array:
    order, starts = attempts(rows)
    if not len(starts):
        return np.zeros(0, BALLOT)
    sorted_ = states[order]
    points = [_point(sorted_[:, point], starts, point) for point in range(4)]
    lead = rows[order[starts]]
    whole = _whole(points, _asks_only(rows)[order[starts]])
    marred = np.maximum.reduceat(((sorted_ >= DOWN) & (sorted_ != NONE)).any(axis=1), starts)
    whole[(whole == OK) & marred] = DEGRADED
    parts = []
    for point, state in enumerate([*points, whole]):
        there = state != NONE
        part = np.zeros(int(there.sum()), BALLOT)
        part["network"], part["target"], part["client"] = (lead[key][there] for key in ("network", "target", "client"))
        part["minute"], part["point"], part["outcome"] = lead["time"][there] // MINUTE, point, state[there]
        part["count"] = 1
        parts.append(part)
    return np.concatenate(parts)


def _point(states: Array, starts: Array, point: int) -> Array:
    """
    What an attempt shows at one point.  What one member reached is reached, but for forged answers and slow flows.
    """
    seen = {state: np.maximum.reduceat(states == state, starts) for state in (UNKNOWN, OK, DOWN)}
    mechanism = np.minimum.reduceat(np.where((states >= INTERFERED) & (states != NONE), states, NONE), starts)
    out = np.where(seen[DOWN], DOWN, np.where(seen[UNKNOWN], UNKNOWN, NONE)).astype(np.uint8)
    struck = mechanism != NONE
    out[struck] = mechanism[struck]
    reached = seen[OK] & ~struck if point in (DNS, TRANSFER) else seen[OK]
    out[reached] = OK
    return out


def _whole(points: list[Array], asks_only: Array) -> Array:
    """What became of the intention: reached, or what stopped it at the deepest point that says so."""
    out = np.full(len(asks_only), UNKNOWN, np.uint8)
    out[asks_only & (points[DNS] == OK)] = OK
    for point in (DNS, CONNECT, NAME):
        out[points[point] == DOWN] = DOWN
    for point in (DNS, CONNECT, NAME):
        struck = (points[point] >= INTERFERED) & (points[point] != NONE)
        out[struck] = points[point][struck]
    out[(points[NAME] == OK) | (points[TRANSFER] == OK)] = OK
    struck = (points[TRANSFER] >= INTERFERED) & (points[TRANSFER] != NONE)
    out[struck] = points[TRANSFER][struck]
    return out


def _asks_only(rows: Array) -> Array:
    """Rows of clients of which nothing but lookups was captured: there an answer is all that can be reached."""
    key = rows["client"] ^ mix(rows["network"].astype(np.uint64))
    return ~np.isin(key, key[rows["transaction"] == 0])


# ---------------------------------------------------------------- beside the ballots


def _strata(rows: Array, states: Array) -> Array:
    """One vote per client, server, target and ten minutes."""
    judged = np.where(states == NONE, UNKNOWN, states)
    bad: Array = np.any(judged >= DOWN, axis=1)
    good: Array = ~bad & np.any(judged == OK, axis=1)
    lookups = rows["transaction"] != 0
    server = rows["server"] ^ mix(lookups.astype(np.uint64))
    use = bad | good
    votes = np.zeros(int(use.sum()), [*STRATA.descr, ("client", "u8")])
    for key in ("network", "target", "client"):
        votes[key] = rows[key][use]
    votes["server"], votes["lookups"] = server[use], lookups[use]
    votes["ten"] = rows["time"][use] // (STRATUM * MINUTE)
    votes["votes"], votes["failed"] = 1, bad[use]
    votes["voiced"] = bad[use] & _Words(rows[use]).outcome("tls_alert")
    keys = ("network", "server", "target", "ten", "lookups")
    votes = _sum(votes, (*keys, "client"), ("votes", "failed", "voiced"))
    votes["failed"] = votes["failed"] * 2 > votes["votes"]
    votes["voiced"] = votes["failed"] & (votes["voiced"] * 2 > votes["votes"])
    votes["votes"] = 1
    votes = _sum(votes, keys, ("votes", "failed", "voiced"))
    out = np.zeros(len(votes), STRATA)
    for key in STRATA.names or ():
        out[key] = votes[key]
    return out


def _paths(rows: Array) -> Array:
    out = np.zeros(len(rows), PATH)
    out["network"], out["target"] = rows["network"], rows["target"]
    out["ten"] = rows["time"] // (STRATUM * MINUTE)
    timed = rows["rtt"] > 0
    out["rtts"] = timed
    out["log_rtt"] = np.where(timed, np.log(np.maximum(rows["rtt"], 1)), 0.0)
    out["packets"], out["retransmissions"] = rows["packets"], rows["retransmissions"]
    # Sums of floats depend on their order; of log microseconds in 1/1024 they do not.
    out["log_rtt"] = np.rint(out["log_rtt"] * 1024)
    out = _sum(out, ("network", "target", "ten"), ("rtts", "log_rtt", "packets", "retransmissions"))
    out["log_rtt"] /= 1024
    return out


def _seen(rows: Array) -> Array:
    out = np.zeros(len(rows), SEEN)
    out["network"], out["minute"], out["rows"] = rows["network"], rows["time"] // MINUTE, 1
    return _sum(out, ("network", "minute"), ("rows",))


def _clients(rows: Array) -> dict[int, int]:
    pairs = np.unique(np.stack([rows["network"].astype(np.uint64), rows["client"]]), axis=1)
    networks, counts = np.unique(pairs[0], return_counts=True)
    return dict(zip(networks.astype(int).tolist(), counts.tolist(), strict=True))
