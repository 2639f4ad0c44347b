"""The ClientHello of QUIC Initials, decrypted naively with the `cryptography` package (RFC 9001, RFC 9369)."""

from __future__ import annotations

import hmac

from reference.names import _extensions

SALTS = {
    b"\0\0\0\1": bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    b"\x6b\x33\x43\xcf": bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}


def hello(datagrams: list[bytes]) -> tuple[str | None, bool, bool, list[int]] | None:
    """
    (name, has it ECH, is it complete, which of the datagrams brought bytes of it); None where no Initial opens.

    One connection: keys are those of the first id, in all datagrams.  Packets behind the first of a datagram are left.
    """
    there: dict[int, int] = {}
    brought: list[int] = []
    keys = None
    opened = False
    for n, datagram in enumerate(datagrams):
        id = datagram[6 : 6 + datagram[5]]
        keys = keys or _keys(datagram[1:5], id)
        frames = _open(datagram, *keys)
        opened |= frames is not None
        before = len(there)
        for at, data in _crypto(frames or b""):
            there.update((at + i, byte) for i, byte in enumerate(data))
        if len(there) > before:
            brought.append(n)
    message = bytes(there[i] for i in range(len(there))) if set(there) == set(range(len(there))) else b""
    whole = len(message) > 3 and len(message) >= 4 + int.from_bytes(message[1:4], "big")
    return (*_extensions(message), whole, brought) if opened else None


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + bytes((6 + len(label),)) + b"tls13 " + label + b"\0\1"
    return hmac.digest(secret, info, "sha256")[:length]


def _keys(version: bytes, id: bytes) -> tuple[bytes, bytes, bytes]:
    client = _expand(hmac.digest(SALTS[version], id, "sha256"), b"client in", 32)
    word = b"quic " if version == b"\0\0\0\1" else b"quicv2 "
    return _expand(client, word + b"key", 16), _expand(client, word + b"iv", 12), _expand(client, word + b"hp", 16)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size], "big") & ((1 << 8 * size - 2) - 1), at + size


def _open(datagram: bytes, key: bytes, iv: bytes, hp: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    at = 6 + datagram[5]
    at += 1 + datagram[at]
    token, at = _varint(datagram, at)
    length, at = _varint(datagram, at + token)
    packet = bytearray(datagram[: at + length])
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(bytes(packet[at + 4 : at + 20]))
    packet[0] ^= mask[0] & 15
    size = (packet[0] & 3) + 1
    for i in range(size):
        packet[at + i] ^= mask[1 + i]
    number = int.from_bytes(packet[at : at + size], "big")
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    try:
        return AESGCM(key).decrypt(nonce, bytes(packet[at + size :]), bytes(packet[: at + size]))
    except InvalidTag:
        return None


def _crypto(frames: bytes) -> list[tuple[int, bytes]]:
    """CRYPTO frames as (offset, bytes), among PADDING and PING."""
    out, at = [], 0
    while at < len(frames) and frames[at] in (0, 1, 6):
        if frames[at] == 6:
            offset, at = _varint(frames, at + 1)
            length, at = _varint(frames, at)
            out.append((offset, frames[at : at + length]))
            at += length
        else:
            at += 1
    return out
