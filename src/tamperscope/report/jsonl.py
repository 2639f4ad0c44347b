"""
JSON Lines: one object a line, ``type`` first, ASCII only, strict (no NaN, no lone surrogates).

Written by hand for two reasons: a capture of many flows is bound by this code (a flow record is one formatted string
here, a third of the time of the standard library's encoder), and importing ``json`` costs a small scan more than
writing its few lines does.
"""

from __future__ import annotations

from tamperscope.model import FlowRecord, iso_time, name_text

try:  # the C function behind json.dumps for str, without the import of the json package and re
    from _json import encode_basestring_ascii as _quote
except ImportError:  # pragma: no cover - another Python
    from json.encoder import encode_basestring_ascii as _quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tamperscope.model import Finding, Notice, Summary

_FLOW = (
    '{"type":"flow","schema":1,"capture":%s,"flow":%d,"time":%s,"time_ns":%s,"end_ns":%s,"first_frame":%d,'
    '"last_frame":%d,"proto":%s,"client":%s,"client_port":%s,"server":%s,"server_port":%s,"client_by":%s,'
    '"community_id":%s,"vlan":%s,"tunnel":%s,"packets_to_server":%d,"packets_to_client":%d,"bytes_to_server":%d,'
    '"bytes_to_client":%d,"conn_state":%s,"history":%s,"name":%s,"name_from":%s,"name_is_outer":%s,"outcome":%s,'
    '"stage":%s,"sequence":%s,"rtt_ms":%s,"vantage":%s,"final_by":%s,"marks":%s,"anomalies":%s}'
)


def line(record: Finding | FlowRecord | Notice | Summary) -> str:
    """
    One record as a line of JSON, without the line break.

    Raises:
        ValueError: a float that is not finite.
        TypeError: a value that JSON has no form for.
    """
    return _flow(record) if isinstance(record, FlowRecord) else encode(record.to_dict())


def encode(value: object) -> str:
    """Any value of dicts with str keys, lists, tuples, str, int, float, bool and None; compact, ASCII, strict."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_key(key)}:{encode(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([encode(item) for item in value]) + "]"
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"no JSON key: {type(key).__name__}")
    return _string(key)


def _string(text: str | None) -> str:
    if text is None:
        return "null"
    return _quote(text if text.isascii() else _without_surrogates(text))


def _without_surrogates(text: str) -> str:
    """A path that is no UTF-8 holds surrogates, which strict readers refuse: its bytes are shown as \\xNN."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")


def _number(value: float) -> str:
    if value - value != 0:  # NaN and infinities; without the import of math
        raise ValueError(f"JSON has no {value!r}")
    return float.__repr__(value)


def _flow(flow: FlowRecord) -> str:
    """Same as ``encode(flow.to_dict())``; a test compares the two."""
    name, lossy = name_text(flow.name)
    shown = _string(name) + ',"lossy":true' if lossy else _string(name)
    return _FLOW % (
        _string(flow.capture), flow.flow, _string(iso_time(flow.time_ns)), _int(flow.time_ns), _int(flow.end_ns),
        flow.first_frame, flow.last_frame, _string(flow.proto), _string(flow.client), _int(flow.client_port),
        _string(flow.server), _int(flow.server_port), _string(flow.client_by), _string(flow.community_id),
        _int(flow.vlan), _string(flow.tunnel), flow.packets_to_server, flow.packets_to_client, flow.bytes_to_server,
        flow.bytes_to_client, _string(flow.conn_state), _string(flow.history), shown, _string(flow.name_from),
        encode(flow.name_is_outer), _string(flow.outcome), _string(flow.stage), _string(flow.sequence),
        encode(flow.rtt_ms), _string(flow.vantage), _string(flow.final_by), encode(flow.marks), encode(flow.anomalies),
    )  # fmt: skip


def _int(value: int | None) -> str:
    return "null" if value is None else int.__repr__(value)
