"""Proof that a webhook comes from whom it says: the schemes of Shopify, Stripe and SendGrid, a plain HMAC, a token."""

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from api.keys import KeysError, Scheme, Webhook

TOLERANCE: Final = 300
"""Seconds between a signed time and ours; Stripe's own libraries allow as much."""

Headers = Mapping[str, str]
Verify = Callable[[Headers, bytes, int], bool]
"""Tells whether headers prove a raw body, at a time in microseconds UTC."""


def verifier(webhook: Webhook) -> Verify:
    """Make the check of a webhook. Raises KeysError where its secret cannot be one."""
    secret = webhook.secret.get_secret_value()
    match webhook.scheme:
        case Scheme.SHOPIFY:
            return _hmac(secret.encode(), "x-shopify-hmac-sha256", "base64", "")
        case Scheme.STRIPE:
            return _stripe(secret.encode())
        case Scheme.SENDGRID:
            return _sendgrid(webhook.name, secret)
        case Scheme.HMAC:
            return _hmac(secret.encode(), webhook.header, webhook.encoding, webhook.prefix)
        case Scheme.TOKEN:
            expected = (webhook.prefix + secret).encode()
            return lambda headers, _body, _now: _same(headers.get(webhook.header, ""), expected)


def _hmac(secret: bytes, header: str, encoding: str, prefix: str) -> Verify:
    def verify(headers: Headers, body: bytes, _now: int) -> bool:
        digest = hmac.digest(secret, body, sha256)
        text = base64.b64encode(digest) if encoding == "base64" else digest.hex().encode()
        return _same(headers.get(header, ""), prefix.encode() + text)

    return verify


def _stripe(secret: bytes) -> Verify:
    def verify(headers: Headers, body: bytes, now: int) -> bool:
        parts = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
        signed_at = next((value for name, _, value in parts if name == "t"), "")
        if not (signed_at.isascii() and signed_at.isdigit()) or abs(int(signed_at[:12]) - now // 1_000_000) > TOLERANCE:
            return False
        expected = hmac.digest(secret, signed_at.encode() + b"." + body, sha256).hex().encode()
        # While a secret is rolled over, there is one signature for each.
        return any(_same(value, expected) for name, _, value in parts if name == "v1")

    return verify


def _sendgrid(name: str, public_key: str) -> Verify:
    try:
        key = load_der_public_key(base64.b64decode(public_key, validate=True))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, EllipticCurvePublicKey):
        raise KeysError(f"webhook {name}: the secret is not the public key that SendGrid shows, base64 of an EC key")

    def verify(headers: Headers, body: bytes, _now: int) -> bool:
        signed_at = headers.get("x-twilio-email-event-webhook-timestamp", "").encode(errors="replace")
        try:
            signature = base64.b64decode(headers.get("x-twilio-email-event-webhook-signature", ""), validate=True)
            key.verify(signature, signed_at + body, ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify


def _same(given: str, expected: bytes) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected)
