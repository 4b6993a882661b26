"""The catalogue: loaded from files that people export, looked up by emails."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli import catalogue as command
from connectors.appending import Away
from connectors.catalogue import AsyncCatalogue, Catalogue, product_key
from connectors.catalogue_file import CatalogueError, CatalogueFile
from connectors.redis_people import MARK
from connectors.redis_profiles import profile_key
from connectors.redis_server import free_port
from tests.shopping import START

GOOD = """product_id,name,price,currency,image_url,url,stock
shoes,Trail shoes,59.90,EUR,https://shop.example/s.png,https://shop.example/shoes,3
socks,"Socks, two pairs",8,EUR,,https://shop.example/socks,
"""


@pytest.fixture
def catalogue(redis_url: str) -> Any:
    """A catalogue over an empty Redis."""
    found = Catalogue(redis_url)
    yield found
    found.close()


def written(folder: Path, text: str | bytes, name: str = "products.csv") -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loaded(catalogue: Catalogue, path: Path, tenant: str = "default") -> int:
    """Load a file."""
    return catalogue.load(tenant, CatalogueFile(path).read(), START)


def test_products_are_looked_up_as_numbers_and_texts(catalogue: Catalogue, tmp_path: Path) -> None:
    """What is not told is absent, and an unknown product is left out."""
    assert loaded(catalogue, written(tmp_path, GOOD)) == 2
    found = catalogue.lookup("default", ["socks", "shoes", "hat", "shoes"])
    assert list(found) == ["socks", "shoes"]
    assert found["shoes"]["price"] == 59.9
    assert found["shoes"]["stock"] == 3.0
    assert found["shoes"]["updated_at"] == "2026-01-01T00:00:00.000Z"
    assert found["socks"]["name"] == "Socks, two pairs"
    assert "stock" not in found["socks"]
    assert "image_url" not in found["socks"]


def test_a_product_of_another_tenant_is_not_found(catalogue: Catalogue, tmp_path: Path) -> None:
    """Two shops may have one id."""
    loaded(catalogue, written(tmp_path, GOOD), "other")
    assert catalogue.lookup("default", ["shoes"]) == {}


def test_loading_twice_is_loading_once(catalogue: Catalogue, tmp_path: Path, client: Any) -> None:
    """A load that broke off is loaded again."""
    path = written(tmp_path, GOOD)
    loaded(catalogue, path)
    before = {key: client.hgetall(key) for key in client.keys("*")}
    loaded(catalogue, path)
    assert {key: client.hgetall(key) for key in client.keys("*")} == before


def test_a_file_of_prices_leaves_names_alone_and_an_empty_cell_takes_out(catalogue: Catalogue, tmp_path: Path) -> None:
    """Stock and prices come every hour from one system, names every night from another."""
    loaded(catalogue, written(tmp_path, GOOD))
    loaded(catalogue, written(tmp_path, "product_id,price,stock\nshoes,49.5,\n"))
    shoes = catalogue.lookup("default", ["shoes"])["shoes"]
    assert (shoes["name"], shoes["price"]) == ("Trail shoes", 49.5)
    assert "stock" not in shoes
    loaded(catalogue, written(tmp_path, b'{"product_id": "shoes", "stock": 0, "url": null}\n', "p.jsonl"))
    shoes = catalogue.lookup("default", ["shoes"])["shoes"]
    assert (shoes["price"], shoes["stock"]) == (49.5, 0.0)
    assert "url" not in shoes


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace(",", ";").replace('"Socks; two pairs"', "Socks"),
        GOOD.replace(",", "\t").replace('"Socks\t two pairs"', "Socks"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n,,,,,,\n",
    ],
)
def test_files_as_spreadsheets_write_them_are_read(text: str, tmp_path: Path) -> None:
    """Semicolons where the comma is for decimals, tabs, a byte order mark, DOS line ends, empty rows."""
    found = {product.product_id: product.fields for product in CatalogueFile(written(tmp_path, text)).read()}
    assert set(found) == {"shoes", "socks"}
    assert found["shoes"]["price"] == "59.9"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", "id,name\n1,x\n", ":1: no column product_id"),
        ("p.csv", "product_id,price,price\n1,2,3\n", ":1: a column is given twice"),
        ("p.csv", "product_id,price\n1,2\n2,three\n", ":3: price: three is no number"),
        ("p.csv", "product_id,price\n1,1_000\n", ":2: price: 1_000 is no number"),
        ("p.csv", 'product_id,price\n1,"12,50"\n', ":2: price: 12,50 is no number"),
        ("p.csv", "product_id,price\n1,nan\n", ":2: price: nan is no number"),
        ("p.csv", "product_id,price\n1,-2\n", ":2: price: -2 is out of bounds"),
        ("p.csv", "product_id,price\n1,2,3\n", ":2: 3 cells under 2 columns"),
        ("p.csv", 'product_id,name\n1,"two\nlines"\n2,x\n2,y\n', ":5: product_id: 2 is in line 4 too"),
        ("p.csv", "product_id,currency\n1,eur\n", ":2: currency: eur"),
        ("p.csv", "product_id,url\n1,javascript:alert(1)\n", ":2: url: is no https:// or http:// address"),
        ("p.csv", "product_id,image_url\n1,/s.png\n", ":2: image_url:"),
        ("p.csv", "product_id,name\n,x\n", ":2: product_id: has 1 to 255 characters"),
        ("p.csv", "product_id,updated_at\n1,yesterday\n", ":2: updated_at: yesterday is no ISO 8601 time"),
        ("p.csv", 'product_id,name\n1,"open\n', ":2: "),
        ("p.csv", "product_id\n", ":1: no products"),
        ("p.csv", "", ":1: no column product_id"),
        ("p.csv", b"product_id,name\n1,\xff\n", ": not UTF-8"),
        ("p.jsonl", '{"product_id": "1"}\n\n{"product_id": 2, "price": true}\n', ":3: price: is neither"),
        ("p.jsonl", '{"product_id": "1"\n', ":1: "),
        ("p.jsonl", "[]\n", ":1: "),
        ("p.jsonl", '{"product_id": "1", "name": {"en": "x"}}\n', ":1: name: is neither"),
        ("p.xml", "<products/>", ": name a .csv or .jsonl file"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_field(name: str, text: str | bytes, said: str, tmp_path: Path) -> None:
    """In one line, as the rest of the tool does."""
    path = written(tmp_path, text, name)
    with pytest.raises(CatalogueError) as refused:
        list(CatalogueFile(path).read())
    assert str(refused.value).startswith(f"{path}{said}")
    assert "\n" not in str(refused.value)


def test_a_number_of_items_below_zero_is_none_left(catalogue: Catalogue, tmp_path: Path) -> None:
    """Shops oversell; the export is not wrong for that."""
    loaded(catalogue, written(tmp_path, "product_id,stock\nshoes,-3\n"))
    assert catalogue.lookup("default", ["shoes"])["shoes"]["stock"] == 0


def test_nothing_is_written_of_a_file_with_an_error(
    redis_url: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the good lines above it: half a catalogue is worse than that of yesterday."""
    monkeypatch.setenv("WAXMARK_REDIS", redis_url)
    with pytest.raises(CatalogueError, match=":3:"):
        command.load(written(tmp_path, "product_id,price\n1,2\n2,x\n"))
    assert client.keys("*") == []


def test_the_command_loads_tells_what_it_passed_over_and_shows(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A field with a typing error would be among them."""
    monkeypatch.setenv("WAXMARK_REDIS", redis_url)
    command.load(written(tmp_path, "product_id,name,prise,colour\nshoes,Trail [red] shoes,5,blue\n"))
    command.show("shoes")
    said = capsys.readouterr().out
    assert "loaded 1 products" in said
    assert "passed over: colour, prise" in said
    assert "Trail [red] shoes" in said
    assert "unknown, so available" in said
    with pytest.raises(ValueError, match="no product hat"):
        command.show("hat")


def test_many_products_are_written_in_few_round_trips(catalogue: Catalogue, client: Any, tmp_path: Path) -> None:
    """A catalogue of ten thousand takes a second or so."""
    path = written(tmp_path, "product_id,price\n" + "".join(f"p{n},{n}\n" for n in range(10_000)))
    assert loaded(catalogue, path) == 10_000
    assert client.dbsize() == 10_000
    assert catalogue.lookup("default", [f"p{n}" for n in range(10_000)])["p9999"]["price"] == 9999.0


def test_a_cart_is_read_with_its_products(catalogue: Catalogue, client: Any, redis_url: str, tmp_path: Path) -> None:
    """Lines in their order; a product that the catalogue does not know has nothing to say."""
    loaded(catalogue, written(tmp_path, GOOD))
    lines = b'[{"product_id":"hat","name":"Hat"},{"product_id":"shoes","name":"Shoes"}]'
    client.hset(profile_key("default", "ann"), mapping={"cart": lines, "orders": 2})
    client.hset(profile_key("default", "new"), mapping={"as_of": "x"})
    client.hset(profile_key("default", "gone"), mapping={"cart": lines, f"{MARK}1": "x"})

    async def read() -> list[Any]:
        asked = AsyncCatalogue(redis_url)
        found: list[Any] = [await asked.cart("default", user) for user in ("ann", "new", "gone", "nobody")]
        found.append(await asked.lookup("default", ["shoes", "hat"]))
        found.append(await asked.lookup("default", []))
        await asked.close()
        return found

    ann, new, gone, nobody, shoes, nothing = asyncio.run(read())
    assert [(line["name"], product.get("price")) for line, product in ann.lines] == [("Hat", None), ("Shoes", 59.9)]
    assert ann.orders == 2
    assert (new.lines, new.orders) == ([], 0)
    assert gone is None, "whoever asked to be deleted is unknown from that moment on"
    assert nobody is None
    assert list(shoes) == ["shoes"]
    assert nothing == {}


def test_a_crowd_is_served_and_not_told_that_redis_is_away(redis_url: str, client: Any) -> None:
    """Five hundred emails opened in one moment: the client's own pool refused all over its hundred connections."""
    client.hset(profile_key("default", "ann"), mapping={"cart": "[]", "orders": 1})

    async def read() -> list[Any]:
        asked = AsyncCatalogue(redis_url)
        found = await asyncio.gather(*(asked.cart("default", "ann") for _ in range(500)))
        await asked.close()
        return found

    assert [cart.orders for cart in asyncio.run(read())] == [1] * 500


def test_a_catalogue_that_is_away_says_so() -> None:
    """To callers that have something else to do."""

    async def ask() -> None:
        asked = AsyncCatalogue(f"redis://127.0.0.1:{free_port()}/0")
        assert not await asked.is_ready()
        for question in (asked.cart("default", "ann"), asked.lookup("default", ["shoes"])):
            with pytest.raises(Away):
                await question
        await asked.close()

    asyncio.run(ask())


def test_a_product_has_a_key_of_its_own() -> None:
    """Part of what others may rely on."""
    assert product_key("default", "shoes:42") == "catalogue:default:shoes:42"
