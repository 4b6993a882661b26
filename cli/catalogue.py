"""`waxmark catalogue`: what products cost now, and whether there are any, for emails that show it."""

from pathlib import Path
from time import time_ns

import cyclopts
from rich.console import Console

from connectors.catalogue import Catalogue
from connectors.catalogue_file import CatalogueFile
from connectors.settings import Settings

app = cyclopts.App(name="catalogue", help="Load products and their prices, and look them up.")

_out = Console(highlight=False, soft_wrap=True)


@app.command
def load(file: Path, *, tenant: str = "default") -> None:
    """Load products from a CSV or JSONL file; all of it is checked before any is written.

    Fields: product_id, name, price, currency, image_url, url, stock, updated_at. One that the file has not stays as it is, an
    empty one is taken out. Products that the file has not stay too: give those you no longer sell a stock of 0.

    Example: `waxmark catalogue load products.csv`

    Parameters
    ----------
    file
        A .csv with a header (commas, semicolons or tabs), or a .jsonl of one product a line; UTF-8.
    tenant
        Whose products they are.
    """
    checked = CatalogueFile(file)
    for _ in checked.read():
        pass
    catalogue = Catalogue(Settings().redis)
    try:
        count = catalogue.load(tenant, CatalogueFile(file).read(), time_ns() // 1_000)
    finally:
        catalogue.close()
    _out.print(f"loaded {count} products from {file}", markup=False)
    if checked.passed_over:
        _out.print(f"passed over: {', '.join(sorted(checked.passed_over))}", markup=False)


@app.command
def show(product_id: str, *, tenant: str = "default") -> None:
    """Show a product as emails see it.

    Example: `waxmark catalogue show shoes-42`
    """
    catalogue = Catalogue(Settings().redis)
    try:
        product = catalogue.lookup(tenant, [product_id]).get(product_id)
    finally:
        catalogue.close()
    if product is None:
        raise ValueError(f"no product {product_id} in the catalogue (tenant {tenant})")
    for name, value in product.items():
        _out.print(f"{name:20} {value}", markup=False)
    if "stock" not in product:
        _out.print(f"{'stock':20} unknown, so available", markup=False)
