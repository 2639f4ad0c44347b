"""
JSON Lines: one object a line, ``type`` first, ASCII only, strict (no NaN, no lone surrogates).

Written by hand for two reasons: a capture of many flows is bound by this code (a flow record is one formatted string
here, half the time of the standard library's encoder), and importing ``json`` costs a small scan more than
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
    from tamperscope.answer import Assessment, Cells, Event
    from tamperscope.model import Finding, Notice, Summary


def line(record: Finding | FlowRecord | Notice | Summary | Event | Assessment | Cells) -> str:
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
    """Same as ``encode(flow.to_dict())``, which a test compares, without the dict; words go straight to C."""
    name, lossy = name_text(flow.name)
    shown = _word(name) + ',"lossy":true' if lossy else _word(name)
    client_port, server_port = _int(flow.client_port), _int(flow.server_port)
    return (
        f'{{"type":"flow","schema":1,"capture":{_string(flow.capture)},"flow":{flow.flow},'
        f'"time":{_word(iso_time(flow.time_ns))},"time_ns":{_int(flow.time_ns)},"end_ns":{_int(flow.end_ns)},'
        f'"first_frame":{flow.first_frame},"last_frame":{flow.last_frame},"proto":{_quote(flow.proto)},'
        f'"client":{_quote(flow.client)},"client_port":{client_port},"server":{_quote(flow.server)},'
        f'"server_port":{server_port},"client_by":{_quote(flow.client_by)},"community_id":{_word(flow.community_id)},'
        f'"vlan":{_int(flow.vlan)},"tunnel":{_word(flow.tunnel)},"packets_to_server":{flow.packets_to_server},'
        f'"packets_to_client":{flow.packets_to_client},"bytes_to_server":{flow.bytes_to_server},'
        f'"bytes_to_client":{flow.bytes_to_client},"conn_state":{_word(flow.conn_state)},'
        f'"history":{_word(flow.history)},"name":{shown},"name_from":{_word(flow.name_from)},'
        f'"name_is_outer":{_FLAG[flow.name_is_outer]},"outcome":{_quote(flow.outcome)},"stage":{_word(flow.stage)},'
        f'"sequence":{_word(flow.sequence)},"rtt_ms":{"null" if flow.rtt_ms is None else _number(flow.rtt_ms)},'
        f'"vantage":{_quote(flow.vantage)},"final_by":{_quote(flow.final_by)},"marks":{_words(flow.marks)},'
        f'"anomalies":{_words(flow.anomalies)}}}'
    )


_FLAG = {None: "null", True: "true", False: "false"}


def _word(text: str | None) -> str:
    return "null" if text is None else _quote(text)


def _words(words: tuple[str, ...]) -> str:
    return f"[{','.join(map(_quote, words))}]" if words else "[]"


def _int(value: int | None) -> str:
    return "null" if value is None else str(value)
