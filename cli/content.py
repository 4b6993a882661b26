"""`waxmark content`: what emails show when they are opened, and their unsubscribe links, in the foreground."""

import logging
import socket
from pathlib import Path

import uvloop

from api.content.app import application
from api.content.now import Shop, parsed_locale
from api.content.pictures import Pictures
from api.content.typeface import Typeface
from cli import serving
from connectors import logs
from connectors.catalogue import AsyncCatalogue
from connectors.settings import Settings
from rendering.signed import Seals
from rendering.template_folder import BUILT_IN, shop_of, template_folder

_log = logging.getLogger("waxmark.content")


def content(
    *,
    host: str = "127.0.0.1",
    port: int = 8090,
    share_port: bool = False,
    templates: Path = BUILT_IN,
    shop_name: str | None = None,
    shop_url: str | None = None,
    currency: str | None = None,
    locale: str | None = None,
    font: Path | None = None,
    bold_font: Path | None = None,
) -> None:
    """Serve what emails show when they are opened, and their unsubscribe links, until SIGTERM or Ctrl-C.

    WAXMARK_CONTENT_SECRET is the secret that delivery writes the links with; several with commas between them, the newest
    first, while one replaces another.

    Example: `WAXMARK_CONTENT_SECRET=$(openssl rand -base64 32) waxmark content --port 8090`

    Parameters
    ----------
    host
        The interface to listen on.
    port
        The port; 0 takes a free one.
    share_port
        Let several processes listen on the port, one for each core.
    templates
        The folder with the templates of emails; its shop.yaml says what is not said here.
    shop_name
        The shop's name, on pages.
    shop_url
        Where pages lead back to.
    currency
        Of prices that come without one, as in EUR.
    locale
        How money is written, as in de_DE.
    font
        A font file for pictures, for scripts that DejaVu Sans has not.
    bold_font
        The same in bold.
    """
    logs.configure(always={"process": "content"})
    settings = Settings()
    seals = serving.seals_of(settings)
    told = shop_of(template_folder(templates))
    given = {"name": shop_name, "url": shop_url, "currency": currency, "locale": locale}
    said = {key: told.get(key, "") if value is None else value for key, value in given.items()}
    shop = _shop(said["name"], said["url"], said["currency"], said["locale"] or "en_US")
    pictures = Pictures(Typeface(font, bold_font), shop.locale)
    pictures.warm_up()
    serving.on_signals()
    with socket.create_server((host, port), backlog=2048, reuse_port=share_port) as listener:
        uvloop.run(_serve(seals, pictures, shop, settings, listener))
    _log.info("stopped")


def _shop(name: str, url: str, currency: str, locale: str) -> Shop:
    if url and not url.startswith(("https://", "http://")):
        raise ValueError(f"--shop-url: {url} does not begin with https:// or http://")
    if currency and not (
        len(currency) == len("EUR") and currency.isascii() and currency.isalpha() and currency.isupper()
    ):
        raise ValueError(f"--currency: {currency} is no three capital letters, as in EUR")
    parsed_locale(locale)
    return Shop(name, url, currency, locale)


async def _serve(seals: Seals, pictures: Pictures, shop: Shop, settings: Settings, listener: socket.socket) -> None:
    catalogue = AsyncCatalogue(settings.redis)
    async with serving.appender(settings) as log:
        app = application(seals, catalogue, log, pictures, shop, serving.clock)
        await serving.serve(app, listener, _log, "serving content")
    await catalogue.close()
