#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver's catalog, as signtool would sign it:   make-catalog.py OUT [FILE...] [OPTION...]

It has the digests of the files (SHA-256; --sha1). Signed by the first --cert with --key; more --cert are added to it.
Without --key nobody has signed it. --stamp TIME CERT KEY: with a countersignature of that time (190608024804Z).
--nested: with a nested signature, which is an empty one. openssl makes the digests' signatures; the rest is DER by hand, as
RFC 2315 and Microsoft's Authenticode paper have it: the list isn't wrapped in an octet string, so that openssl can't make
it. --blob: OUT is a Blob of the registry instead, around the first --cert, in hexadecimal as .reg files have it.
"""
import argparse
import base64
import hashlib
import subprocess


def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    if n < 128:
        return bytes([tag, n]) + body
    size = (n.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + n.to_bytes(size, "big") + body


def oid(text):
    arcs = [int(x) for x in text.split(".")]
    out = b""
    for arc in [arcs[0] * 40 + arcs[1]] + arcs[2:]:
        part = bytes([arc & 0x7F])
        while arc := arc >> 7:
            part = bytes([0x80 | arc & 0x7F]) + part
        out += part
    return tlv(6, out)


def children(der):
    """The elements in the first one."""
    out, at, end = [], *span(der, 0)
    while at < end:
        _, after = span(der, at)
        out.append(der[at:after])
        at = after
    return out


def span(der, at):
    n, head = der[at + 1], 2
    if n & 0x80:
        head += n & 0x7F
        n = int.from_bytes(der[at + 2 : at + head], "big")
    return at + head, at + head + n


def read_pem(path):
    lines = open(path).read().split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0]
    return base64.b64decode(lines)


def sequence(*parts):
    return tlv(0x30, *parts)


def algorithm(name):
    return sequence(oid(name), tlv(5))


SHA256, SHA1 = algorithm("2.16.840.1.101.3.4.2.1"), algorithm("1.3.14.3.2.26")
CTL = "1.3.6.1.4.1.311.10.1"


def attribute(name, value):
    return sequence(oid(name), tlv(0x31, value))


def signer(content, content_type, cert, key, more, unsigned=b""):
    fields = [f for f in children(children(cert)[0]) if f[0] != 0xA0]
    attributes = attribute("1.2.840.113549.1.9.3", oid(content_type)) + more
    attributes += attribute("1.2.840.113549.1.9.4", tlv(4, hashlib.sha256(content).digest()))
    made = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=tlv(0x31, attributes), capture_output=True, check=True)
    signature = made.stdout
    if callable(unsigned):
        unsigned = unsigned(signature)
    return sequence(tlv(2, b"\1"), sequence(fields[2], fields[0]), SHA256, tlv(0xA0, attributes),
                    algorithm("1.2.840.113549.1.1.1"), tlv(4, signature), unsigned and tlv(0xA1, unsigned))


def member(path, sha1):
    data = open(path, "rb").read()
    digest = (hashlib.sha1 if sha1 else hashlib.sha256)(data).digest()
    indirect = sequence(sequence(oid("1.3.6.1.4.1.311.2.1.25")), sequence(SHA1 if sha1 else SHA256, tlv(4, digest)))
    return sequence(tlv(4, digest.hex().upper().encode("utf-16-le")), tlv(0x31, attribute("1.3.6.1.4.1.311.2.1.4", indirect)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("files", nargs="*")
    p.add_argument("--cert", action="append", default=[])
    p.add_argument("--key")
    p.add_argument("--sha1", action="store_true")
    p.add_argument("--nested", action="store_true")
    p.add_argument("--blob", action="store_true")
    p.add_argument("--stamp", nargs=3)
    a = p.parse_args()
    certs = [read_pem(c) for c in a.cert]
    if a.blob:
        # a friendly name, then the certificate
        parts = [(11, "test\0".encode("utf-16-le")), (32, certs[0])]
        blob = b"".join(i.to_bytes(4, "little") + b"\1\0\0\0" + len(d).to_bytes(4, "little") + d for i, d in parts)
        open(a.out, "w").write(blob.hex(","))
        return
    content = b"".join([sequence(oid("1.3.6.1.4.1.311.12.1.1")), tlv(4, bytes(16)), tlv(0x17, b"230102030405Z"),
                        algorithm("1.3.6.1.4.1.311.12.1.3"), sequence(*[member(f, a.sha1) for f in a.files])])

    def unsigned(signature):
        out = b""
        if a.nested:
            out += attribute("1.3.6.1.4.1.311.2.4.1", sequence())
        if a.stamp:
            when = attribute("1.2.840.113549.1.9.5", tlv(0x17, a.stamp[0].encode()))
            out += attribute("1.2.840.113549.1.9.6", signer(signature, "1.2.840.113549.1.7.1", read_pem(a.stamp[1]), a.stamp[2], when))
        return out

    if a.stamp:
        certs.append(read_pem(a.stamp[1]))
    signers = signer(content, CTL, certs[0], a.key, b"", unsigned) if a.key else b""
    data = sequence(tlv(2, b"\1"), tlv(0x31, SHA256), sequence(oid(CTL), tlv(0xA0, sequence(content))),
                    certs and tlv(0xA0, *certs) or b"", tlv(0x31, signers))
    open(a.out, "wb").write(sequence(oid("1.2.840.113549.1.7.2"), tlv(0xA0, data)))


main()
