"""
What resets of one maker have in common, in one flow and over unrelated ones.

Hosts do not know of each other: their counters are their own, and no stack makes a window out of a TTL.
"""

from __future__ import annotations

import numpy as np

from tamperscope.fingerprint import CONTEXT, INJECTED, Candidates, Observation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Array = np.ndarray[Any, Any]

LEAST = 3  # TTLs or flows
SMALL = 256  # windows and TTLs below it come near each other by chance


def window_follows_ttl(c: Candidates, resets: Array) -> Observation:
    """Window less TTL is one number over three TTLs or more: in the resets (bool over the trace) of a flow, or all."""
    t = c.trace
    rows = np.flatnonzero(resets & (t["window"] >= SMALL))
    less = t["window"][rows].astype(np.int64) - t["ttl"][rows]
    forged = np.zeros(len(t), np.bool_)
    for whose in (c.owner[rows], np.zeros(len(rows), np.int64)):
        code = whose << 17 | less
        pairs = np.unique(np.stack((code, t["ttl"][rows].astype(np.int64))), axis=1)
        steps, ttls = np.unique(pairs[0], return_counts=True)
        forged[rows[np.isin(code, steps[ttls >= LEAST])]] = True
    value = {"less": c.largest(t["window"].astype(np.int64) - t["ttl"], forged, 0)}
    return c.observe("window_follows_ttl", c.any(forged), forged, INJECTED, value)


def one_ip_id(c: Candidates, resets: Array) -> Observation:
    """
    One IP ID, not 0, in the resets of three flows or more that come in the name of two senders or more.

    As many would share one by chance less than once in a thousand captures of this many resets.
    """
    t = c.trace
    rows = np.flatnonzero(resets & (t["ip_id"] > 0))
    flows = np.unique(np.stack((t["ip_id"][rows].astype(np.int64), c.owner[rows])), axis=1)
    ids, times = np.unique(flows[0], return_counts=True)
    rate = flows.shape[1] / 65536
    often = ids[(times >= LEAST) & (65536 * (np.e * rate / np.maximum(times, 1)) ** times < 1e-3)]
    forged = np.zeros(len(t), np.bool_)
    rows = rows[np.isin(t["ip_id"][rows], often)]
    ends = (t["from_server"][rows] == 1)[:, None]
    senders = np.where(ends, c.flow["server"][c.owner[rows]], c.flow["client"][c.owner[rows]])
    for one in often.tolist():
        mine = t["ip_id"][rows] == one
        forged[rows[mine]] = len(np.unique(senders[mine], axis=0)) >= 2
    count = np.zeros(len(c), np.int64)
    at = np.flatnonzero(forged)
    count[c.owner[at]] = times[np.searchsorted(ids, t["ip_id"][at])] if len(at) else 0
    return c.observe("one_ip_id_for_many", c.any(forged), forged, CONTEXT, {"count": count})
