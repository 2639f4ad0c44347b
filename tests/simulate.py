#!/usr/bin/env python3
"""Simulated evenings, and how often events, times and causes are told right.

    python tests/simulate.py                       30 evenings of each kind
    python tests/simulate.py --cases 299 --seed 9  what a bound of 1 % at 95 % needs
    python tests/simulate.py --kinds cable,peering

Evenings are made as flows and lookups of people with habits, not as rates in minutes: bursts, retries, cached names,
addresses of two families, clients that fail more than others.  Nothing here is shared with the model of events; kinds
follow the published list of what looks like interference and is none.  Prints, for each kind of fault, how many were
called targeted and the upper 95 % bound; for interference, how many events were found, how often the intervals hold
the truth, and how often the cause is right.  Exits with 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from tamperscope import core
from tamperscope.answer import Answer, Network
from tamperscope.assess import assess, load
from tamperscope.ballots import Tries
from tamperscope.catalogue import MECHANISMS
from tamperscope.events import Search
from tamperscope.targets import Targets

SECOND = 10**9
START = 1_700_000_000 // 86_400 * 86_400 * SECOND + 13 * 3600 * SECOND
MINUTES = 300
PLATFORMS = {
    "x": ["x.com", "pbs.twimg.com"], "facebook": ["www.facebook.com", "static.fbcdn.net"],
    "instagram": ["www.instagram.com"], "whatsapp": ["web.whatsapp.com"],
    "youtube": ["www.youtube.com", "i.ytimg.com"], "tiktok": ["www.tiktok.com"], "google": ["www.google.com"],
    "wikipedia": ["en.wikipedia.org"],
}  # fmt: skip
OPERATORS = {"meta": ["facebook", "instagram", "whatsapp"], "google": ["youtube", "google"], "x": ["x"],
             "bytedance": ["tiktok"], "wikimedia": ["wikipedia"]}  # fmt: skip
FOREIGN = [f"www.site{i}.example" for i in range(14)]
DOMESTIC = [f"www.home{i}.example.org" for i in range(6)]
OK, HELLO, RESET, SYN, SILENT, SERVFAIL, FORGED, SLOW, REFUSED, ALERT = range(10)
FOUND = {HELLO: ("sni_drop", 0.6, False), RESET: ("rst_injection", 0.8, True), FORGED: ("dns_forgery", 0.95, True),
         SLOW: ("throttling", 0.7, False), SYN: ("ip_block", 0.3, False)}  # fmt: skip
ROWS = {
    HELLO: ("TIMEOUT", "AFTER_NAME"), RESET: ("RESET", "AFTER_NAME"), SYN: ("TIMEOUT", "SYN"),
    REFUSED: ("REFUSED", "SYN"), ALERT: ("TLS_ALERT", "AFTER_NAME"), OK: ("OK", "TRANSFER"), SLOW: ("OK", "TRANSFER"),
}  # fmt: skip


class Evening:
    """People on networks who visit names; `rng` decides everything."""

    def __init__(self, rng: np.random.Generator, networks: int | None = None, clients: int | None = None) -> None:
        self.rng = rng
        self.n_networks = networks or int(rng.integers(2, 6))
        self.names = [name for names in PLATFORMS.values() for name in names] + FOREIGN + DOMESTIC
        self.target = {name: target for target, names in PLATFORMS.items() for name in names}
        shared = rng.random() < 0.6  # some platforms stand on servers that carry other names, too
        self.server = {}
        for i, name in enumerate(self.names):
            self.server[name] = i
            if name in self.target:
                self.server[name] = self.names.index(PLATFORMS[self.target[name]][0])
        for i, name in enumerate(FOREIGN):
            if i < 4:
                self.server[name] = self.names.index(FOREIGN[0])  # one shared server of a content network
            elif shared and i < 10:
                self.server[name] = self.server[PLATFORMS[("x", "facebook", "youtube")[i % 3]][0]]
        self._people(clients)
        n = len(self.time)
        self.mode = np.zeros(n, np.int64)  # what stops an attempt whatever the number of tries
        self.loss = np.zeros((n, 2))  # of each try: the lookup is lost, the connection is
        self.lines = np.ones(n)  # factor on round trips
        self.again = np.full(n, 0.005)  # share of packets sent again
        self.true = np.zeros(n, bool)  # of attempts that something of ours stops: findings are possible
        base = self.base[self.client]
        fails = rng.random(n) < base
        self.mode[fails] = rng.choice([HELLO, SYN, RESET, SILENT], int(fails.sum()), p=[0.3, 0.4, 0.2, 0.1])
        self.truth: dict[tuple[int, str], tuple[float, float]] = {}
        self.window = (0.0, 0.0)
        self.noise = 0.0  # share of resets of servers that are taken for forged ones
        self.dropped = np.zeros(n, bool)
        self.one_way: set[int] = set()

    def _people(self, clients: int | None) -> None:
        rng = self.rng
        names = np.arange(len(self.names))
        popularity = np.array([3.0 if name in self.target else 1.0 for name in self.names])
        times, who, what, net = [], [], [], []
        self.base_list = []
        rho = rng.uniform(0.05, 0.4)
        mean = rng.uniform(0.01, 0.08)
        count = 0
        self.network_of = []
        for network in range(self.n_networks):
            people = clients or int(rng.integers(3, 60) if rng.random() < 0.3 else rng.integers(12, 60))
            for _ in range(people):
                taste = popularity * rng.gamma(0.7, 1.0, len(names))
                taste /= taste.sum()
                sessions = rng.poisson(rng.gamma(2.0, 2.0)) + 1
                for at in rng.uniform(0, MINUTES * 60, sessions):
                    visits = rng.geometric(0.2)
                    gaps = rng.exponential(50.0, visits)
                    times.append(at + np.cumsum(gaps))
                    what.append(rng.choice(names, visits, p=taste))
                    who.append(np.full(visits, count))
                    net.append(np.full(visits, network))
                spread = (1 - rho) / rho
                self.base_list.append(rng.beta(mean * spread + 1e-3, (1 - mean) * spread))
                self.network_of.append(network)
                count += 1
        self.time, self.client = np.concatenate(times), np.concatenate(who)
        self.name, self.network = np.concatenate(what), np.concatenate(net)
        keep = self.time < MINUTES * 60
        self.time, self.client, self.name, self.network = (
            column[keep] for column in (self.time, self.client, self.name, self.network)
        )
        self.base = np.minimum(np.array(self.base_list), 0.6)
        self.people = count
        self.six = rng.random(count) < 0.3

    # ------------------------------------------------------------ what happens to attempts

    def during(self, start: float | None = None, length: float | None = None) -> np.ndarray[Any, Any]:
        """A window of minutes in the middle of the evening, and the attempts in it."""
        if start is None:
            length = float(self.rng.uniform(60, 180)) if length is None else length
            start = float(self.rng.uniform(40, MINUTES - 40 - length))
        assert length is not None
        self.window = (start, start + length)
        return (self.time >= start * 60) & (self.time < (start + length) * 60)

    def of(self, names: list[str]) -> np.ndarray[Any, Any]:
        return np.isin(self.name, [self.names.index(name) for name in names])

    def on(self, names: list[str]) -> np.ndarray[Any, Any]:
        """Attempts to the servers of these names, whatever the name."""
        servers = {self.server[name] for name in names}
        return np.isin(self.name, [i for i, name in enumerate(self.names) if self.server[name] in servers])

    def hit(self, where: np.ndarray[Any, Any], mode: int, share: float = 1.0, true: bool = False) -> None:
        """Stop these attempts, or a share of them."""
        chosen = where & (self.rng.random(len(where)) < share)
        self.mode[chosen] = mode
        self.true[chosen] = true

    def some_networks(self, least: int = 1) -> np.ndarray[Any, Any]:
        count = int(self.rng.integers(least, self.n_networks + 1))
        self.chosen = sorted(self.rng.choice(self.n_networks, count, replace=False).tolist())
        return np.isin(self.network, self.chosen)

    def platforms(self, *targets: str) -> list[str]:
        return [name for target in targets for name in PLATFORMS[target]]

    # ------------------------------------------------------------ rows

    def rows(self) -> tuple[list[Any], list[Any], list[tuple[int, int, int, str, bool]]]:
        """Parts of tries, of learned addresses, and findings (flow, transaction, network, mechanism, proven)."""
        rng, n = self.rng, len(self.time)
        left = ~self.dropped
        cached = rng.random(n) < 0.15
        at = self.time.copy()
        parts: list[Any] = []
        learned: list[Any] = []
        findings: list[tuple[int, int, int, str, bool]] = []
        self.flow = 0
        for _ in range(3):
            which = np.flatnonzero(left)
            lost = rng.random((len(which), 2)) < self.loss[which]
            mode = self.mode[which]
            asks = which[~cached[which]]
            bad_ask = np.isin(mode, (SILENT, FORGED, SERVFAIL)) | lost[:, 0]
            asking = ~cached[which]
            parts.append(self._lookups(asks, at[asks], mode[asking], lost[asking, 0], findings))
            answered = asks[~bad_ask[asking]]
            learned.append((answered, at[answered]))
            goes = ~bad_ask | (cached[which] & ~np.isin(mode, (SILENT, FORGED, SERVFAIL)))
            went, ways = which[goes], np.where(lost[goes, 1] & (mode[goes] == OK), SYN, mode[goes])
            parts.append(self._connections(went, at[went] + 0.1, ways, findings))
            done = went[np.isin(ways, (OK, SLOW))]
            left[done] = False
            at += rng.uniform(1.5, 7.0, n)
            left &= (rng.random(n) < 0.75) & (at < MINUTES * 60)
        return parts, learned, findings

    def _table(self, which: Any, at: Any, server: Any, port: int, protocol: int) -> Any:
        table = np.zeros(len(which), core.dtype("tscope_try"))
        table["flow"] = self.flow + 1 + np.arange(len(which))
        self.flow += len(which)
        table["first_ns"] = START + (at * SECOND).astype(np.int64)
        table["client"][:, 10:12] = 255
        table["client"][:, 12] = 10
        table["client"][:, 14], table["client"][:, 15] = self.client[which] // 256, self.client[which] % 256
        table["server"][:, 10:12] = 255
        table["server"][:, 12], table["server"][:, 15] = 198, server
        table["server_port"], table["protocol"] = port, protocol
        table["packets"] = 12
        lengths = np.array([len(name) for name in self.names])
        table["name_offset"] = (np.cumsum(lengths) - lengths)[self.name[which]]
        table["name_length"] = lengths[self.name[which]]
        return table

    def _lookups(self, which: Any, at: Any, mode: Any, lost: Any, findings: list[Any]) -> Any:
        table = self._table(which, at, 200 + self.network[which], 53, 17)
        table["transaction"] = table["flow"]
        table["stage"] = core.constant("STAGE_DNS")
        silent = lost | (mode == SILENT)
        table["outcome"] = np.where(silent, core.constant("OUT_NO_ANSWER"), core.constant("OUT_OK"))
        table["rcode"] = np.where((mode == SERVFAIL) & ~silent, 2, 0)
        self._find(which, table, mode == FORGED, FORGED, findings)
        return self.network[which], table

    def _connections(self, which: Any, at: Any, mode: Any, findings: list[Any]) -> Any:
        servers = np.array([self.server[name] for name in self.names])
        table = self._table(which, at, servers[self.name[which]], 443, 6)
        for code, (outcome, stage) in ROWS.items():
            mine = mode == code
            table["outcome"][mine] = core.constant("OUT_" + outcome)
            table["stage"][mine] = core.constant("STAGE_" + stage)
        nameless = (mode == SYN) | (mode == REFUSED)
        table["name_length"][nameless] = 0
        table["rtt_us"] = np.where(nameless, 0, self.rng.normal(90_000, 9_000, len(which)) * self.lines[which]).clip(0)
        table["retransmissions"] = self.rng.binomial(table["packets"].astype(int), self.again[which])
        blind = np.isin(self.network[which], list(self.one_way))
        table["facts"][blind] = core.constant("FACT_ONE_WAY")
        for code in (HELLO, RESET, SLOW, SYN):
            self._find(which, table, mode == code, code, findings)
        if self.noise:
            wrong = (mode == RESET) & ~self.true[which] & (self.rng.random(len(which)) < self.noise)
            findings += [(int(f), 0, int(net), "rst_injection", False)
                         for f, net in zip(table["flow"][wrong], self.network[which][wrong], strict=True)]  # fmt: skip
        return self.network[which], table

    def _find(self, which: Any, table: Any, mine: Any, code: int, findings: list[Any]) -> None:
        mechanism, share, proven = FOUND[code]
        seen = mine & self.true[which] & (self.rng.random(len(which)) < share)
        for row, network in zip(table[seen], self.network[which][seen], strict=True):
            findings.append((int(row["flow"]), int(row["transaction"]), int(network), mechanism, proven))

    def answer(self, targets: Targets) -> tuple[Answer, Search]:
        """What the program makes of it."""
        parts, learned, findings = self.rows()
        text = "".join(self.names).encode()
        tries = Tries(targets)
        empty = np.zeros(0, core.dtype("tscope_learned"))
        for network, table in parts:
            tries.add(network, 0, table, empty, text)
        servers = np.array([self.server[name] for name in self.names])
        lengths = np.array([len(name) for name in self.names])
        for which, at in learned:
            more = np.zeros(len(which), core.dtype("tscope_learned"))
            more["time_ns"] = START + (at * SECOND).astype(np.int64)
            more["client"][:, 10:12] = more["address"][:, 10:12] = 255
            more["client"][:, 12], more["address"][:, 12] = 10, 198
            more["client"][:, 14], more["client"][:, 15] = self.client[which] // 256, self.client[which] % 256
            more["address"][:, 15] = servers[self.name[which]]
            more["name_offset"] = (np.cumsum(lengths) - lengths)[self.name[which]]
            more["name_length"] = lengths[self.name[which]]
            none = np.zeros(0, core.dtype("tscope_try"))
            tries.add(np.zeros(0, np.uint16), 0, none, more, text, self.network[which])
        rows = [(0, flow, transaction, MECHANISMS.index(word) + 256 * proven, i)
                for i, (flow, transaction, _, word, proven) in enumerate(findings)]  # fmt: skip
        tries.found(np.array(rows, np.uint64).reshape(-1, 5))
        names = [f"n{i}" for i in range(self.n_networks)]
        search = Search(tries.count({0: START + MINUTES * 60 * SECOND}), names, targets.all)
        out = Answer()
        out.networks = [Network(name, "label") for name in names]
        out.events = search.events()
        out.assessments = assess(search, out.events, dict.fromkeys(names, "label"), RULES)
        return out, search


RULES = load()
Kind = Callable[[Evening], None]


# ---------------------------------------------------------------- interference


def _targeted(e: Evening, mode: Callable[[int], int], least: int = 2) -> None:
    """Some platforms on some networks, jittered by network; not all clients, and not all networks alike."""
    rng = e.rng
    chosen = ["x", "facebook", "instagram", "youtube"] + (["tiktok"] if rng.random() < 0.3 else [])
    if rng.random() < 0.2:
        chosen = chosen[:1]
    length = float(rng.uniform(60, 180))
    start = float(rng.uniform(45, MINUTES - 45 - length))
    networks = e.some_networks(min(least, e.n_networks))
    covered = rng.random(e.people) < rng.uniform(0.6, 0.97)
    for network in e.chosen:
        low, high = start + rng.uniform(-2.5, 2.5), start + length + rng.uniform(-5, 5)
        here = networks & (e.network == network) & (e.time >= low * 60) & (e.time < high * 60)
        e.hit(here & covered[e.client] & e.of(e.platforms(*chosen)), mode(network), 0.97, true=True)
        for target in chosen:
            e.truth[network, target] = (low, high)


def _one(code: int) -> Kind:
    return lambda e: _targeted(e, lambda network: code)


def _mixed(e: Evening) -> None:
    codes = e.rng.choice([HELLO, RESET, FORGED, SLOW], e.n_networks)
    _targeted(e, lambda network: int(codes[network]))


# ---------------------------------------------------------------- faults, and what looks like interference


def _cable(e: Evening) -> None:
    """An international cable breaks: all that is foreign loses packets and takes a longer way."""
    here = e.during() & e.some_networks() & ~e.of(DOMESTIC)
    loss = e.rng.uniform(0.2, 0.7)
    e.loss[here] += loss
    e.lines[here] *= e.rng.uniform(1.0, 2.2)
    e.again[here] += loss * 0.5


def _dead(e: Evening) -> None:
    """A network's line abroad is dead."""
    here = e.during() & e.some_networks() & ~e.of(DOMESTIC)
    e.hit(here, SYN, e.rng.uniform(0.8, 1.0))


def _peering(e: Evening) -> None:
    """The ways to two or three operators are gone on some networks, for all names there."""
    operators = e.rng.choice(list(OPERATORS)[:4], int(e.rng.integers(2, 4)), replace=False)
    names = e.platforms(*(target for one in operators for target in OPERATORS[one]))
    e.hit(e.during() & e.some_networks() & e.on(names), int(e.rng.choice([SYN, HELLO])), e.rng.uniform(0.5, 1.0))


def _cdn(e: Evening) -> None:
    """A content network fails that carries platforms of several operators and other names."""
    names = [*e.platforms("x", "tiktok"), *FOREIGN[:4]]
    e.hit(e.during() & e.on(names), int(e.rng.choice([SYN, HELLO, RESET, ALERT])), e.rng.uniform(0.5, 1.0))


def _operator(e: Evening) -> None:
    """An operator is down everywhere: its servers with all names on them, or a service behind them, which they say."""
    operator = str(e.rng.choice(["meta", "google", "x", "bytedance"]))
    names = e.platforms(*OPERATORS[operator])
    mode = int(e.rng.choice([SYN, HELLO, RESET, ALERT]))
    e.hit(e.during() & (e.of(names) if mode == ALERT else e.on(names)), mode, e.rng.uniform(0.4, 1.0))


def _balancer(e: Evening) -> None:
    """
    A balancer resets a share of connections, now and then with a TTL of its own, so that some are taken for forged.
    """
    names = e.platforms(str(e.rng.choice(["x", "facebook", "youtube"])))
    e.hit(e.during() & e.on(names), RESET, e.rng.uniform(0.2, 0.8))
    e.noise = 0.05


def _resolver(e: Evening) -> None:
    """The resolver of some networks fails for all names."""
    here = e.during() & e.some_networks()
    e.hit(here, int(e.rng.choice([SILENT, SERVFAIL])), e.rng.uniform(0.6, 0.97))


def _congestion(e: Evening) -> None:
    """Loss that grows and goes again, for all that is foreign."""
    here = e.during(float(e.rng.uniform(30, 60)), 200.0) & e.some_networks() & ~e.of(DOMESTIC)
    low, high = e.window
    shape = np.sin(np.pi * (e.time / 60 - low) / (high - low)).clip(0)
    peak = e.rng.uniform(0.1, 0.5)
    e.loss[here] += peak * shape[here][:, None]
    e.again[here] += 0.4 * peak * shape[here]
    e.lines[here] *= 1 + shape[here] * e.rng.uniform(0.1, 1.0)


def _shutdown(e: Evening) -> None:
    """Everything of some networks is off: attempts fail for all names, or nobody is there any more."""
    here = e.during() & e.some_networks()
    if e.rng.random() < 0.5:
        e.hit(here, SYN, 1.0)
        e.mode[here & (e.rng.random(len(e.time)) < 0.6)] = SILENT
    else:
        e.dropped |= here & (e.rng.random(len(e.time)) < 0.97)


def _capture(e: Evening) -> None:
    """The capture pauses for an hour, or sees one direction on some networks."""
    here = e.during(length=60.0)
    if e.rng.random() < 0.5:
        e.dropped |= here
    else:
        e.one_way = {0}
        e.hit(e.network == 0, SYN, 0.9)


def _chatty(e: Evening) -> None:
    """One client fails, and tries as often as ten."""
    who = int(e.client[e.rng.integers(len(e.client))])
    e.hit(e.during() & (e.client == who) & ~e.of(DOMESTIC), int(e.rng.choice([HELLO, SYN, RESET])))


def _antivirus(e: Evening) -> None:
    """A few clients of one network have a filter of their own, which cuts platforms off."""
    here = e.during() & (e.network == 0)
    few = np.unique(e.client[e.network == 0])[:2]
    e.hit(here & np.isin(e.client, few) & e.of(e.platforms("x", "facebook", "youtube")), RESET, true=True)


def _map(e: Evening) -> None:
    """A content network moves: names get other addresses, some of which do not answer at once."""
    names = e.platforms(str(e.rng.choice(["x", "tiktok"])))
    e.hit(e.during(length=60.0) & e.of(names), SYN, e.rng.uniform(0.05, 0.3))


def _ipv6(e: Evening) -> None:
    """The newer family is broken for those who have it: the first try is lost, the second is not."""
    here = e.during() & e.six[e.client]
    e.loss[here, 1] += 0.5


def _defence(e: Evening) -> None:
    """A platform defends itself against floods: connections are refused or reset at the start, for some clients."""
    names = e.platforms(str(e.rng.choice(["x", "instagram", "youtube"])))
    some = e.rng.random(e.people) < e.rng.uniform(0.3, 0.9)
    e.hit(e.during() & e.on(names) & some[e.client], int(e.rng.choice([REFUSED, RESET])), e.rng.uniform(0.5, 1.0))


def _certificate(e: Evening) -> None:
    """A certificate runs out: alerts after the hello, everywhere."""
    names = e.platforms(str(e.rng.choice(["x", "instagram", "tiktok"])))
    e.hit(e.during() & e.of(names), ALERT, e.rng.uniform(0.8, 1.0))


def _nothing(e: Evening) -> None:
    """An ordinary evening."""
    e.during()


def _site(e: Evening) -> None:
    """One network's own firewall injects: true interference, but of one site."""
    here = e.during() & (e.network == 0)
    e.hit(here & e.of(e.platforms("x", "facebook", "instagram", "youtube")), RESET, true=True)


TARGETED: dict[str, Kind] = {
    "forged answers": _one(FORGED), "drops by name": _one(HELLO), "forged resets": _one(RESET),
    "slowed by name": _one(SLOW), "mixed": _mixed,
}  # fmt: skip
FAULTS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "cable": (_cable, ("transport_fault",)), "dead line": (_dead, ("transport_fault", "blanket_shutdown")),
    "peering": (_peering, ("transport_fault",)), "content network": (_cdn, ("platform_outage",)),
    "operator": (_operator, ("platform_outage",)), "balancer": (_balancer, ("platform_outage",)),
    "resolver": (_resolver, ("resolver_fault",)), "congestion": (_congestion, ("transport_fault",)),
    "shutdown": (_shutdown, ("blanket_shutdown", "transport_fault")), "capture": (_capture, ()),
    "chatty client": (_chatty, ()),
    "few clients": (_antivirus, ()), "map change": (_map, ()), "IPv6": (_ipv6, ()),
    "flood defence": (_defence, ("platform_outage",)), "certificate": (_certificate, ("platform_outage",)),
    "nothing": (_nothing, ()),
}  # fmt: skip


def both_tables() -> tuple[Targets, Targets]:
    """Without and with domestic controls: most users name none."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(f'[[control]]\nclass = "domestic"\nnames = {DOMESTIC}\n')
        file.flush()
        return Targets(), Targets([file.name])


def upper(errors: int, n: int) -> float:
    """One-sided upper 95 % bound of a rate (Clopper and Pearson)."""
    low, high = errors / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(math.comb(n, k) * middle**k * (1 - middle) ** (n - k) for k in range(errors + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high


def evening(kind: Kind, seed: int) -> Evening:
    e = Evening(np.random.default_rng(seed))
    kind(e)
    return e


def clear(e: Evening, search: Search, network: int, target: str) -> bool:
    """Whether an event is there to be found: nine failed votes of three clients inside."""
    number = [one.id for one in search.targets].index(target)
    low, high = (START // (60 * SECOND) + minute for minute in e.truth[network, target])
    votes = search.votes
    mine = votes[(votes["network"] == network) & (votes["target"] == number) & votes["failed"]]
    mine = mine[(mine["minute"] >= low) & (mine["minute"] < high)]
    return len(mine) >= 9 and len(np.unique(mine["client"])) >= 3


class Score:
    """What came out of the evenings with interference."""

    def __init__(self) -> None:
        self.events = self.found = self.intervals = self.held = self.cases = self.right = self.wrong = 0

    def add(self, e: Evening, answer: Answer, search: Search) -> None:
        events = {(one.network, one.target): one for one in answer.events if one.kind == "failure"}
        for (network, target), truth in e.truth.items():
            if not clear(e, search, network, target):
                continue
            one = events.get((f"n{network}", target))
            self.events += 1
            self.found += one is not None
            for moment, minute in zip((one.onset, one.end) if one else (), truth, strict=False):
                at = START + minute * 60 * SECOND
                self.intervals += 1
                self.held += moment is not None and (moment.start or 0) <= at <= (moment.stop or 1 << 62)
        causes = [one.cause for one in answer.assessments]
        if any(clear(e, search, *key) for key in e.truth):
            self.cases += 1
            self.right += "targeted_interference" in causes
            self.wrong += bool(set(causes) - {"targeted_interference", "inconclusive", "insufficient"})


def run(cases: int, seed: int, kinds: set[str], write: Callable[[str], object] = print) -> bool:
    """Print the table; False where a bound is missed."""
    tables = both_tables()
    good = True
    write(f"{'interference':<16}  events found    intervals hold  cause right     other cause")
    sums = Score()
    for name, kind in TARGETED.items():
        if kinds and name not in kinds:
            continue
        score = Score()
        for case in range(cases):
            e = evening(kind, seed * 1_000_003 + case * 131 + len(name))
            answer, search = e.answer(tables[case % 2])
            score.add(e, answer, search)
            sums.add(e, answer, search)
        write(_line(name, score))
    if sums.events:
        write(_line("all", sums))
        good &= sums.found >= 0.95 * sums.events and sums.right >= 0.85 * sums.cases
        good &= 0.93 * sums.intervals <= sums.held <= 0.985 * sums.intervals
    write(f"\n{'fault':<16}  called targeted   bound   cause right  in doubt  none told")
    for name, (kind, causes) in FAULTS.items():
        if kinds and name not in kinds:
            continue
        wrong = right = doubt = none = 0
        for case in range(cases):
            answer, _ = evening(kind, seed * 1_000_003 + case * 131 + 7 * len(name)).answer(tables[case % 2])
            told = [one.cause for one in answer.assessments]
            wrong += "targeted_interference" in told
            right += any(cause in told for cause in causes)
            doubt += bool(told) and all(one in ("inconclusive", "insufficient") for one in told)
            none += not told
        good &= wrong <= cases // 299
        share = f"{right / cases:11.0%}" if causes else f"{'-':>11}"
        write(f"{name:<16}  {wrong:>4} of {cases:<6}  {upper(wrong, cases):7.2%}  {share}  {doubt:>8}  {none:>9}")
    if not kinds or "site" in kinds:
        wide = told = 0
        for case in range(cases):
            answer, _ = evening(_site, seed * 1_000_003 + case * 131).answer(tables[case % 2])
            mine = [one for one in answer.assessments if one.cause == "targeted_interference"]
            told += bool(mine)
            wide += any(one.scope in ("several_networks", "place") for one in mine)
        write(f"\na site's own firewall: told {told} of {cases}, said to be of several networks {wide} "
              f"(bound {upper(wide, cases):.2%})")  # fmt: skip
        good &= wide <= cases // 299
    return good


def _line(name: str, s: Score) -> str:
    def of(k: int, n: int) -> str:
        return f"{k}/{n} {k / n:.1%}" if n else "-"

    return (
        f"{name:<16}  {of(s.found, s.events):<14}  {of(s.held, s.intervals):<14}  {of(s.right, s.cases):<14}  {s.wrong}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--cases", type=int, default=30, help="evenings of each kind (default 30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default="", help="kinds, with commas; default all")
    options = parser.parse_args()
    kinds = {one for one in options.kinds.split(",") if one}
    known = {*TARGETED, *FAULTS, "site"}
    if kinds - known:
        parser.error(f"no such kind: {', '.join(sorted(kinds - known))}; there are {', '.join(sorted(known))}")
    return 0 if run(options.cases, options.seed, kinds, lambda text: print(text, flush=True)) else 1


if __name__ == "__main__":
    sys.exit(main())
