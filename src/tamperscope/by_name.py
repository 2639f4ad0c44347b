"""
How resets fall on server names, over many flows.

An injector that copies its sender's header and waits for its round trip leaves no trace in one flow.  What it cannot
hide is its choice: on one server, in the same minutes, the flows with one name are reset and those with others are not.
Chance, outages and firewalls do not know names.  The server does, so each observation says what rules it out.
"""

from __future__ import annotations

from collections import defaultdict
from math import exp, lgamma

import numpy as np

from tamperscope.fingerprint import CONTEXT, FACT_ONE_WAY, INJECTED, TRIGGER_DATA, Candidates, Observation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

RARE, FEW = 1e-3, 1e-2  # chance of such tables if resets did not care for names
LEAST = 3  # flows of a group: one or two are an accident


class ByName:
    """
    Groups of candidates that share a name, and how the core counted the flows around them, server by server.

    c: the candidates; context: rows of ``tscope_flow_context``; resets: bool over the trace: resets that came after the
    name was sent and that are not their sender's next packets.
    """

    def __init__(self, c: Candidates, context: Array, resets: Array) -> None:
        self.c, self.resets = c, resets
        flow = c.flow
        named = (flow["name_length"] > 0) & (flow["trigger"] > 0) & (flow["trigger"] < TRIGGER_DATA)
        self.hit: Array = named & (flow["facts"] & FACT_ONE_WAY == 0) & c.any(resets)
        self.from_server: Array = c.any(resets & c.from_server)
        # The core leaves the candidate itself out.
        fates = ("reached", "silent", "reset")
        total = {key: np.ones(len(c), np.int64) for key in ("name", "server")}
        for key, count in total.items():
            for fate in fates:
                count += context[f"near_{key}_{fate}"]
        self.flows, self.all = total["name"], total["server"]
        self.reset: Array = context["near_name_disturbed"].astype(np.int64) + 1
        self.all_reset: Array = context["near_server_disturbed"].astype(np.int64) + 1
        self.names: dict[bytes, list[int]] = defaultdict(list)
        self.servers: dict[bytes, list[int]] = defaultdict(list)
        for i in np.flatnonzero(self.hit).tolist():
            self.names[c.name(i) or b""].append(i)
            self.servers[self._server(i)].append(i)
        self.few, self.rare, self.always = (np.zeros(len(c), np.bool_) for _ in range(3))
        self._choose()

    def _server(self, i: int) -> bytes:
        address: bytes = self.c.flow["server"][i].tobytes()
        return address + int(self.c.flow["server_port"][i]).to_bytes(2)

    def _choose(self) -> None:
        """Which candidates belong to a name that is reset where others are not."""
        apart = {server for server, group in self.servers.items() if self._is_apart(group)}
        for group in self.names.values():
            tables: dict[bytes, list[int]] = defaultdict(list)
            for i in group:
                tables[self._server(i)].append(i)
            # Servers are strata: what is wrong with one of them does not count as choice of a name.
            chance, reset, flows, spared = 1.0, 0, 0, 0
            for server, there in tables.items():
                i = there[len(there) // 2]
                table = tuple(int(a[i]) for a in (self.reset, self.flows, self.all_reset, self.all))
                whole = 1 / _choose(table[3], table[2]) if server in apart else 1.0
                chance *= min(_tail(*table), whole)
                reset, flows = reset + table[0], flows + table[1]
                spared += table[3] - table[2] - (table[1] - table[0])
            if reset >= LEAST and spared >= 2:
                self.few[group], self.rare[group] = chance <= FEW, chance <= RARE
                self.always[group] = reset * 5 >= flows * 4

    def _is_apart(self, group: list[int]) -> bool:
        """Each name of the server is reset always or never: all its resets are among the candidates, and only they."""
        return len(group) >= int(self.all_reset[group].max()) and bool((self.flows == self.reset)[group].all())

    def selective(self, sign: Array) -> list[Observation]:
        """The name is reset and others are not, in flows with a sign (bool, shape (n,)) of a third party."""
        c, values = self.c, self._values()
        return [
            c.observe("reset_by_name", self.rare & sign, None, CONTEXT, values),
            c.observe("reset_by_name_few", self.few & ~self.rare & sign, None, CONTEXT, values),
        ]

    def _values(self) -> dict[str, Array]:
        return {
            "reset": self.reset, "flows": self.flows,
            "others_reset": self.all_reset - self.reset, "others": self.all - self.flows,
        }  # fmt: skip

    def proved_elsewhere(self, proved: Array) -> Observation:
        """Two other flows or more with this name have resets in the same direction that are proved forged."""
        count = np.zeros(len(self.c), np.int64)
        for group in self.names.values():
            for side in (True, False):
                mine = [i for i in group if self.from_server[i] == side]
                count[mine] = proved[mine].sum()
        return self.c.observe("name_proved_elsewhere", (count >= 2) & ~proved, self.resets, INJECTED, {"count": count})

    def unlike_its_stack(self, lacking: Array, stamped: Array) -> list[Observation]:
        """
        All of the name's resets that should bear timestamps lack them, for several clients, and only that name has any.

        A program that refuses a name does it through its socket, and a socket's resets bear what was agreed.
        lacking, stamped: bool over the trace: resets without timestamps, resets that should have them.
        """
        c = self.c
        out, count = np.zeros(len(c), np.bool_), np.zeros(len(c), np.int64)
        lacks, ought = c.any(lacking & c.from_server), c.any(stamped & c.from_server)
        for group in self.names.values():
            mine = [i for i in group if self.from_server[i] and self.rare[i] and self.always[i]]
            clients = {c.flow["client"][i].tobytes() for i in mine}
            n = int(lacks[mine].sum())
            if n >= LEAST and n == int(ought[mine].sum()) and len(clients) >= 2:
                out[mine], count[mine] = True, n
        values = {**self._values(), "count": count}
        return [
            c.observe("name_reset_alone", out, self.resets, INJECTED, values),
            c.observe("names_resets_unlike_stack", out, None, CONTEXT, values),
        ]


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) if 0 <= k <= n else float("-inf")


def _choose(n: int, k: int) -> float:
    return exp(min(_log_choose(n, k), 600.0))


def _tail(k: int, n: int, reset: int, flows: int) -> float:
    """Chance that of n flows out of `flows`, k or more are among the `reset` ones (hypergeometric)."""
    most = min(n, reset)
    if most - k > 64:  # so many more were possible: no surprise worth the sum
        return 1.0
    terms = (_log_choose(reset, i) + _log_choose(flows - reset, n - i) for i in range(k, most + 1))
    return min(sum(exp(term - _log_choose(flows, n)) for term in terms), 1.0)
