"""What the simulated shop sells: the same products, prices and pages in every run."""

from itertools import product
from random import Random
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

SITE: Final = "https://shop.example"
_IMAGES: Final = "https://img.example"

_SECTIONS: Final = {
    "kitchen": ("Mug", "Pan", "Kettle", "Knife", "Bowl"),
    "garden": ("Spade", "Planter", "Hose", "Bench", "Lantern"),
    "clothing": ("Shirt", "Scarf", "Jacket", "Socks", "Belt"),
    "office": ("Lamp", "Notebook", "Pen", "Chair", "Shelf"),
}
_MAKES: Final = ("Linen", "Oak", "Steel", "Wool", "Cork", "Copper", "Cotton", "Glass", "Bamboo", "Leather")


def raw(content: object) -> Raw:
    """Encode once what every message about a product or a page repeats."""
    return Raw(msgspec.json.encode(content))


class Product(NamedTuple):
    """A product, with the texts that messages carry of it ready for the wire."""

    product_id: str
    name: str
    price: float
    url: str
    image_url: str
    page: Raw
    viewed: Raw


class Section(NamedTuple):
    """A product list, with the properties of looking at it and of its page."""

    page: Raw
    listed: Raw
    products: tuple[Product, ...]


def page(path: str) -> Raw:
    """Write the part of a message's context that says which page it was sent from."""
    return raw({"path": path})


def _product(number: int, name: str) -> Product:
    product_id, slug = f"P-{number:04d}", name.lower().replace(" ", "-")
    # Prices are spread over 5 to 205 by a step that is coprime with the range, so neighbours differ.
    price = 5 + number * 7_919 % 200 + 0.9
    path = f"/{slug}"
    image_url = f"{_IMAGES}/{product_id}.jpg"
    viewed = {"product_id": product_id, "name": name, "price": price, "image_url": image_url, "url": SITE + path}
    return Product(product_id, name, price, SITE + path, image_url, page(path), raw(viewed))


def _section(first: int, name: str, things: tuple[str, ...]) -> Section:
    names = [f"{make} {thing}" for thing, make in product(things, _MAKES)]
    products = tuple(_product(first + offset, each) for offset, each in enumerate(names))
    listed = {"list_id": name, "category": name, "products": [{"product_id": p.product_id} for p in products[:3]]}
    return Section(page(f"/{name}"), raw(listed), products)


SECTIONS: Final = tuple(_section(1 + 50 * index, *entry) for index, entry in enumerate(_SECTIONS.items()))
NOTHING: Final = raw({})
HOME: Final = page("/")
CART: Final = page("/cart")
CHECKOUT: Final = page("/checkout")


def pick(rng: Random, section: Section) -> Product:
    """Choose a product; the first of a section sell best."""
    return section.products[int(rng.random() ** 2 * len(section.products))]
