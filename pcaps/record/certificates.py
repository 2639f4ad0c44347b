"""A root, an intermediate and one leaf for each server, made anew for each recording; no key is kept."""

import datetime
from collections.abc import Collection
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def name(common: str) -> x509.Name:
    parts = [(NameOID.COUNTRY_NAME, "ZZ"), (NameOID.ORGANIZATION_NAME, "Example Trust"), (NameOID.COMMON_NAME, common)]
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def sign(common: str, issuer: Pair | None, names: list[str] | None = None) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = name(common) if names is None else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    above, above_key = issuer or (None, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=81 if names else 3650))
        .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above_key.public_key()), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(above_key, hashes.SHA256()), key


def write(folder: Path, servers: dict[str, list[str]], self_signed: Collection[str] = ()) -> Path:
    """Files SERVER.pem (leaf and intermediate) and SERVER.key; returns the root's file for the clients."""
    root = sign("Example Trust Root 1", None)
    middle = sign("Example Trust TLS 3", root)
    for server, names in servers.items():
        alone = server in self_signed
        leaf, key = sign(names[0], None if alone else middle, names)
        chain = leaf.public_bytes(serialization.Encoding.PEM)
        if not alone:
            chain += middle[0].public_bytes(serialization.Encoding.PEM)
        (folder / f"{server}.pem").write_bytes(chain)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{server}.key").write_bytes(secret)
    path = folder / "root.pem"
    path.write_bytes(root[0].public_bytes(serialization.Encoding.PEM))
    return path
