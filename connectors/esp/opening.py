"""Opening providers: from what is set about one to what can be called."""

import ssl
from email.utils import parseaddr

import aiohttp
from pydantic import SecretStr

from connectors.delivery_model import Shop
from connectors.esp.braze import Braze
from connectors.esp.call_template import ADDRESS, BODY, HEADER, compiled
from connectors.esp.customerio import CustomerIo
from connectors.esp.http import Clock, HttpEsp, Vendor
from connectors.esp.klaviyo import Klaviyo
from connectors.esp.options import (
    BrazeOptions,
    CustomerIoOptions,
    KlaviyoOptions,
    Provider,
    ResendOptions,
    SendGridOptions,
    SmtpOptions,
    SparkPostOptions,
    WebhookOptions,
)
from connectors.esp.protocol import Esp
from connectors.esp.resend import Resend
from connectors.esp.sendgrid import SendGrid
from connectors.esp.smtp import Mailbox, Security, SmtpEsp
from connectors.esp.sparkpost import SparkPost
from connectors.esp.webhook import Webhook


def opened(
    options: Provider,
    shop: Shop,
    session: aiohttp.ClientSession,
    clock: Clock,
    trust: ssl.SSLContext | None = None,
) -> Esp:
    """Open a provider, in the event loop that uses it.

    Args:
        options: what is set about it.
        shop: as whom emails are sent.
        session: shared by all providers over HTTP. It sets no limit of connections, which is the lanes' to set, and drops those
            that were idle for longer than servers keep them: they would break under a call, whose outcome nobody then knew.
        clock: gives the time in microseconds UTC.
        trust: certificates that mail servers are judged by, instead of the system's.
    """
    if isinstance(options, SmtpOptions):
        signer = options.dkim.signer() if options.dkim else None
        return SmtpEsp(mailbox(options, shop), signer, options.concurrency, options.timeout, clock, trust)
    return HttpEsp(vendor(options, shop, clock), session, options.timeout, clock)


def mailbox(options: SmtpOptions, shop: Shop) -> Mailbox:
    """Say where mail goes in, and as whom."""
    address = parseaddr(shop.from_)[1]
    return Mailbox(
        host=options.host,
        port=options.entry,
        sender=options.bounces_to or address,
        from_=shop.from_,
        reply_to=shop.reply_to or "",
        domain=options.message_id_domain or address.rpartition("@")[2],
        security=Security(options.security),
        username=options.username or "",
        password=_open(options.password),
        hello=options.hello,
    )


def vendor(options: Provider, shop: Shop, clock: Clock) -> Vendor:
    """Say what is particular to a provider over HTTP."""
    if isinstance(options, SmtpOptions):
        raise TypeError("SMTP is not spoken over HTTP")
    if isinstance(options, WebhookOptions):
        return _webhook(options, clock)
    if isinstance(options, SendGridOptions | ResendOptions | SparkPostOptions):
        return _mailer(options, shop)
    return _composer(options)


def _mailer(options: SendGridOptions | ResendOptions | SparkPostOptions, shop: Shop) -> Vendor:
    """Make one that is given emails to send."""
    url, key, sender, reply_to = options.url, _open(options.api_key), shop.from_, shop.reply_to or ""
    match options:
        case SendGridOptions(renders=renders, templates=templates):
            return SendGrid(url=url, key=key, sender=sender, reply_to=reply_to, renders=renders, templates=templates)
        case ResendOptions():
            return Resend(url=url, key=key, sender=sender, reply_to=reply_to)
        case SparkPostOptions():
            return SparkPost(url=url, key=key, sender=sender, reply_to=reply_to)


def _composer(options: BrazeOptions | CustomerIoOptions | KlaviyoOptions) -> Vendor:
    """Make one that makes its emails by itself."""
    url, key, templates = options.url, _open(options.api_key), options.templates
    match options:
        case BrazeOptions(transactional=transactional):
            return Braze(url=url, key=key, transactional=transactional, templates=templates)
        case CustomerIoOptions(site_id=site_id, identify_by=by):
            return CustomerIo(url=url, site_id=site_id, key=key, by_address=by == "email", templates=templates)
        case KlaviyoOptions(revision=revision, identify_by=by):
            return Klaviyo(url=url, key=key, revision=revision, by_address=by == "email", templates=templates)


def _webhook(options: WebhookOptions, clock: Clock) -> Webhook:
    headers = {name: compiled(text, HEADER) for name, text in options.headers.items()}
    if options.token is not None:
        headers["Authorization"] = compiled("Bearer {% raw %}" + _open(options.token) + "{% endraw %}", HEADER)
    return Webhook(
        url=compiled(options.url, ADDRESS),
        headers=headers,
        body=None if options.body is None else compiled(options.body, BODY),
        clock=clock,
        content_type=options.content_type,
        method=options.method,
        secret=_open(options.secret),
        key_header=options.key_header or "",
        remembers=options.remembers,
        renders=options.renders,
        duplicate_status=options.duplicate_status,
    )


def _open(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
