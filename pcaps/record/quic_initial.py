"""The server name in a client's QUIC v1 Initial (RFC 9001, section 5): its keys follow from the packet itself."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from packet import server_name

SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")


def expand(secret: bytes, label: bytes, size: int) -> bytes:
    name = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)


def number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer and where it ends."""
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size], "big") & ((1 << (size * 8 - 2)) - 1), at + size


def initial_name(datagram: bytes) -> str | None:
    """None when it is no Initial of version 1, or its hello's name is not in this datagram."""
    if len(datagram) < 100 or datagram[0] & 0xF0 != 0xC0 or datagram[1:5] != b"\0\0\0\1":
        return None
    try:
        target = datagram[6 : 6 + datagram[5]]
        at = 6 + datagram[5]
        at += 1 + datagram[at]
        token, at = number(datagram, at)
        length, at = number(datagram, at + token)
        extract = HMAC(SALT, hashes.SHA256())
        extract.update(target)
        secret = expand(extract.finalize(), b"client in", 32)
        key, iv, mask_key = (
            expand(secret, b"quic key", 16),
            expand(secret, b"quic iv", 12),
            expand(secret, b"quic hp", 16),
        )
        sample = datagram[at + 4 : at + 20]
        encryptor = Cipher(algorithms.AES(mask_key), modes.ECB()).encryptor()
        mask = encryptor.update(sample)
        first = datagram[0] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        packet_number = bytes(a ^ b for a, b in zip(datagram[at : at + size], mask[1:], strict=False))
        header = bytes([first]) + datagram[1:at] + packet_number
        nonce = bytes(a ^ b for a, b in zip(iv, packet_number.rjust(12, b"\0"), strict=True))
        plain = AESGCM(key).decrypt(nonce, datagram[at + size : at + length], header)
        crypto: dict[int, bytes] = {}
        at = 0
        while at < len(plain):
            kind, at = number(plain, at)
            if kind == 6:
                offset, at = number(plain, at)
                length, at = number(plain, at)
                crypto[offset] = plain[at : at + length]
                at += length
            elif kind not in (0, 1):
                break
        stream = b""
        while len(stream) in crypto and crypto[len(stream)]:
            stream += crypto[len(stream)]
        # The same hello as in TLS over TCP, without the record around it.
        return server_name(b"\x16\x03\x01" + len(stream).to_bytes(2, "big") + stream)
    except Exception:  # whatever else is sent to port 443
        return None
