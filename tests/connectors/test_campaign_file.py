"""The campaign file: what a marketer may write, and what they are told when it is wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.campaign_file import CampaignFileError, json_schema, load
from state import campaigns
from state.campaigns import Campaign, Filter, Items, Selector
from state.clock import DAY, HOUR, MILLISECOND, MINUTE, NEVER, SECOND

ROOT = Path(__file__).parents[2]

NOT_FIELDS = "is not a set of fields (write one to a line below it, indented)"

WAY_OUT = '(If your shop sends it so, list it below "events:" at the top)'

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a campaign file into the working directory, where a marketer would call it by its bare name."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        path = Path("campaigns.yaml")
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return to_file


@pytest.fixture
def cart(write: Write) -> Callable[[str], Campaign]:
    """Load one valid cart campaign with further lines of YAML in it."""

    def with_lines(lines: str) -> Campaign:
        text = "campaigns:\n  cart:\n    template: t\n    wait: 1h\n    opened_by: [Product Added]\n"
        [campaign] = load(write(text + "".join(f"    {line}\n" for line in dedent(lines).strip().splitlines())))
        return campaign

    return with_lines


def problems(path: Path) -> list[str]:
    """Load a file that must be refused, and give the lines of the refusal."""
    with pytest.raises(CampaignFileError) as refusal:
        load(path)
    return str(refusal.value).splitlines()


def test_the_shipped_campaigns_are_valid_and_wait_an_hour_for_a_cart() -> None:
    """`campaigns.yaml` is the first thing a shop runs with: it must load, and an order must cancel the cart."""
    shipped = {campaign.id: campaign for campaign in load(ROOT / "campaigns.yaml")}
    assert sorted(shipped) == [
        "browse_abandonment",
        "cart_abandonment",
        "checkout_abandonment",
        "post_purchase",
        "welcome",
        "win_back",
    ]
    added, wished = Selector("Product Added"), Selector("Wishlist Product Added to Cart")
    assert shipped["cart_abandonment"] == Campaign(
        id="cart_abandonment",
        template_id="cart-abandonment",
        opened_by=(added, wished),
        reset_by=(added, wished, Selector("Product Removed"), Selector("Cart Viewed")),
        cancelled_by=(Selector("Checkout Started"), Selector("Order Completed")),
        wait=HOUR,
        subject="cart_id",
        items=Items.CART,
        expires_after=24 * HOUR,
        reentry=7 * DAY,
    )
    assert shipped["post_purchase"].cancel_by_subject
    assert shipped["win_back"].opened_by == shipped["win_back"].reset_by == (Selector(campaigns.ANY),)


def test_the_demo_runs_the_shipped_campaigns_on_a_clock_of_seconds() -> None:
    """A demo of other campaigns than those that are shipped would show something that nobody gets."""
    same = {"wait": 0, "reentry": 0, "expires_after": 0}
    shipped, demo = load(ROOT / "campaigns.yaml"), load(ROOT / "simulator" / "demo_campaigns.yaml")
    assert [msgspec.structs.replace(c, **same) for c in demo] == [msgspec.structs.replace(c, **same) for c in shipped]
    assert {c.id: c.wait // SECOND for c in demo} == {
        "cart_abandonment": 5,
        "checkout_abandonment": 6,
        "browse_abandonment": 8,
        "welcome": 2,
        "post_purchase": 10,
        "win_back": 20,
    }


def test_shipped_campaigns_survive_the_log() -> None:
    """What the file compiles to is written into the log as JSON, and the fold reads exactly that back."""
    shipped = load(ROOT / "campaigns.yaml")
    _, body = campaigns.encode(shipped)
    assert campaigns.decode(body) == sorted(shipped, key=lambda campaign: campaign.id)


def test_what_is_left_out_has_the_documented_defaults(cart: Callable[[str], Campaign]) -> None:
    """The shortest campaign: sent once per person, without items, good for a day, cancelled by nothing."""
    assert cart("") == Campaign(
        id="cart",
        template_id="t",
        opened_by=(Selector("Product Added"),),
        wait=HOUR,
        subject="user",
        items=Items.NONE,
        expires_after=24 * HOUR,
        reentry=NEVER,
    )


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("500ms", 500 * MILLISECOND),
        ("90s", 90 * SECOND),
        ("30m", 30 * MINUTE),
        ("1h", HOUR),
        ("2d", 2 * DAY),
        ("3w", 21 * DAY),
        ("0s", 0),
        ("never", NEVER),
    ],
)
def test_durations_have_a_number_and_a_unit(cart: Callable[[str], Campaign], written: str, micros: int) -> None:
    """Every unit that the guide names, and `never` for re-entry."""
    assert cart(f"reentry: {written}").reentry == micros


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("Completed Order", "Order Completed"),
        ("Started Order", "Checkout Started"),
        ("Order Completed", "Order Completed"),
        ("identify", "identify"),
        ('"*"', "*"),
        ("Signed Up", "Signed Up"),
        ("Product Saved", "Product Saved"),
        ("Product Liked", "Product Liked"),
        ("Order Shipped", "Order Shipped"),
        ("Cart Cleared", "Cart Cleared"),
        ("Subscribed", "Subscribed"),
        ("Заказ Оформлен", "Заказ Оформлен"),
        ('"-"', "-"),
    ],
)
def test_event_names_become_canonical_and_a_shop_may_have_its_own(
    cart: Callable[[str], Campaign], written: str, canonical: str
) -> None:
    """Events are known to the fold by their v2 name; names of a shop's own, even like ours, are left as they are."""
    assert cart(f"cancelled_by: [{written}]").cancelled_by == (Selector(canonical),)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Order completed", "Order Completed"),
        ("order_completed", "Order Completed"),
        ("OrderCompleted", "Order Completed"),
        ("Order Complete", "Order Completed"),
        ("Oredr Completed", "Order Completed"),
        ("Order Canceled", "Order Cancelled"),
        ("Completed Orders", "Order Completed"),
        ("Cart View", "Cart Viewed"),
        ("Product Searched", "Products Searched"),
        ("Identify", "identify"),
    ],
)
def test_a_slip_in_an_event_name_is_refused_with_what_was_meant(write: Write, written: str, meant: str) -> None:
    """A cart campaign cancelled by `Order completed` would be cancelled by nothing, and nobody would notice."""
    path = write(f"campaigns: {{cart: {{template: t, wait: 1h, opened_by: [{written}]}}}}")
    assert problems(path) == [
        f'campaigns.yaml:1: cart.opened_by[1]: "{written}" is not an event; did you mean "{meant}"? {WAY_OUT}'
    ]


@pytest.mark.parametrize("where", ["events: [Order Complete, Product Share]\n{}", "{}events:\n- Order Complete\n"])
def test_a_shop_may_say_that_a_name_is_its_own(write: Write, where: str) -> None:
    """A shop that really sends `Order Complete` had no way round the refusal; its event stays another than ours."""
    campaigns_of_it = "campaigns: {cart: {template: t, wait: 1h, opened_by: [page], cancelled_by: [Order Complete]}}\n"
    [campaign] = load(write(where.format(campaigns_of_it)))
    assert campaign.cancelled_by == (Selector("Order Complete"),)


def test_a_name_of_its_own_allows_no_other_slip_and_changes_no_known_name(write: Write) -> None:
    """The list opens the door for the names on it alone; an old name on it still means the new one, as in the fold."""
    path = write("""\
        events: [Order Complete, Completed Order]
        campaigns:
          cart: {template: t, wait: 1h, opened_by: [Completed Order], cancelled_by: [Order completed]}
        """)
    slip = '"Order completed" is not an event; did you mean "Order Completed"?'
    assert problems(path) == [f"campaigns.yaml:3: cart.cancelled_by[1]: {slip} {WAY_OUT}"]
    [campaign] = load(
        write("events: [Completed Order]\ncampaigns: {a: {template: t, wait: 1h, opened_by: [Completed Order]}}")
    )
    assert campaign.opened_by == (Selector("Order Completed"),)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (
            "events: Order Complete",
            'events: "Order Complete" is not a list (write [one, another], or one to a line after a dash)',
        ),
        ("events:", "events: an empty value is not a list (write [one, another], or one to a line after a dash)"),
        ("events: [page, 7]", "events[2]: 7 is not text (if it is a name, put it in quotes)"),
        ("events: ['']", 'events[1]: "" is empty'),
        ("event: [x]", 'event: unknown field; did you mean "events"?'),
        ("events: &e [*e]", "events: contains itself"),
    ],
)
def test_a_list_of_own_names_that_is_none_is_told(write: Write, written: str, what: str) -> None:
    """Like everything else in the file: by line and field."""
    path = write(f"{written}\ncampaigns: {{a: {{template: t, wait: 1h, opened_by: [page]}}}}")
    assert problems(path) == [f"campaigns.yaml:1: {what}"]


def test_conditions_may_be_a_value_a_list_or_tests(cart: Callable[[str], Campaign]) -> None:
    """A value means `is`, a list means `in`, a dot leads into nested properties, several tests must all hold."""
    campaign = cart("""
        reset_by:
          - event: Product Viewed
            where:
              color: red
              size: [S, M]
              price: {at_least: 10, below: 49.5}
              brand.country: {is_not: DE}
    """)
    assert campaign.reset_by == (
        Selector(
            "Product Viewed",
            (
                Filter(("brand", "country"), campaigns.Test.IS_NOT, "DE"),
                Filter(("color",), campaigns.Test.IS, "red"),
                Filter(("price",), campaigns.Test.AT_LEAST, 10),
                Filter(("price",), campaigns.Test.BELOW, 49.5),
                Filter(("size",), campaigns.Test.IN, ["S", "M"]),
            ),
        ),
    )


@pytest.mark.parametrize("test", list(campaigns.Test))
def test_every_test_that_the_fold_knows_can_be_written(cart: Callable[[str], Campaign], test: campaigns.Test) -> None:
    """A test added to the fold and forgotten in the file would be out of every marketer's reach."""
    value = {"in": "[a]", "not_in": "[a]", "exists": "false"}.get(test, "a")
    [selector] = cart(f"reset_by: [{{event: page, where: {{x: {{{test}: {value}}}}}}}]").reset_by
    assert selector.where == (Filter(("x",), test, yaml.safe_load(value)),)


@pytest.mark.parametrize(
    ("written", "value"),
    [("NO", "NO"), ("on", "on"), ("2026-01-31", "2026-01-31"), ("12:30", "12:30"), ("007", "007"), ("true", True)],
)
def test_values_are_read_as_events_have_them(cart: Callable[[str], Campaign], written: str, value: object) -> None:
    """YAML of old reads Norway (NO) as false, 12:30 as 750 and 007 as 7; no event's JSON would ever equal them."""
    [selector] = cart(f"reset_by: [{{event: page, where: {{x: {written}}}}}]").reset_by
    assert selector.where == (Filter(("x",), campaigns.Test.IS, value),)
    assert type(selector.where[0].value) is type(value)


def test_a_list_may_be_named_once_and_used_twice(cart: Callable[[str], Campaign]) -> None:
    """Openers that also reset need not be written twice: YAML's own anchors do."""
    campaign = cart("""
        reset_by: &handled [Product Added, Product Removed]
        cancelled_by: *handled
    """)
    assert campaign.cancelled_by == campaign.reset_by == (Selector("Product Added"), Selector("Product Removed"))


def test_text_that_was_pasted_from_json_is_made_whole(cart: Callable[[str], Campaign]) -> None:
    """JSON escapes an emoji in two halves; left apart they could not be written into the log."""
    assert cart(r'payload: {properties: ["\ud83d\ude00"]}').properties == ("\N{GRINNING FACE}",)


def test_words_for_people_do_not_make_a_new_version(cart: Callable[[str], Campaign]) -> None:
    """A comment, a description or another order of conditions must not republish the campaigns."""
    plain = cart("reset_by: [{event: page, where: {a: 1, b: 2}}]")
    told = cart("reset_by: [{event: page, where: {b: 2, a: 1}}] # for Ann\ndescription: Ann asked for it")
    assert plain.version == told.version
    assert cart("reset_by: [{event: page, where: {a: 1, b: 3}}]").version != plain.version


def test_a_disabled_campaign_is_left_out_but_checked(write: Write) -> None:
    """Switched off is out of force; what is broken in it must not wait for the day it is switched on."""
    off = "campaigns: {a: {enabled: false, template: t, wait: %s, opened_by: [page]}}"
    assert load(write(off % "1h")) == []
    assert problems(write(off % "1x")) == ['campaigns.yaml:1: a.wait: "1x" is not a duration (write 90s, 30m, 1h, 2d)']


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("wiat: 2h", 'wiat: unknown field; did you mean "wait"?'),
        ("payload: {item: cart}", 'payload.item: unknown field; did you mean "items"?'),
        ("payload: {items: basket}", "payload.items: \"basket\" is not allowed (write 'none', 'cart' or 'event')"),
        ("payload: cart", f'payload: "cart" {NOT_FIELDS}'),
        ("payload: {properties: [12]}", "payload.properties[1]: 12 is not text (if it is a name, put it in quotes)"),
        ("cancel_match: cart", "cancel_match: \"cart\" is not allowed (write 'user' or 'subject')"),
        ("expires_after: 1:30", 'expires_after: "1:30" is not a duration (write 90s, 30m, 1h, 2d)'),
        ("expires_after: 0s", 'expires_after: "0s" would let every email expire before it is sent'),
        ("reentry: 60", "reentry: 60 is not a duration (write 90s, 30m, 1h, 2d)"),
        ("reentry: 999w", 'reentry: "999w" is longer than ten years'),
        ("subject:", "subject: an empty value is not text (if it is a name, put it in quotes)"),
        ("subject: ''", 'subject: "" is empty'),
        ("enabled: yes", 'enabled: "yes" is neither true nor false'),
        (f"subject: {'x' * 256}", f'subject: "{"x" * 60}" is longer than 255 characters'),
        (
            "reset_by: Cart Viewed",
            'reset_by: "Cart Viewed" is not a list (write [one, another], or one to a line after a dash)',
        ),
        (
            "reset_by: [Cart Viewed, 7]",
            "reset_by[2]: 7 is not an event (write its name, or event: and where: below each other)",
        ),
        ("reset_by: [{where: {a: 1}}]", "reset_by[1].event: missing"),
        ("reset_by: [{event: page, were: {}}]", 'reset_by[1].were: unknown field; did you mean "where"?'),
        (
            "reset_by: [{event: page, where: {price: {roughly: 5}}}]",
            f"reset_by[1].where.price.roughly: unknown test; there are {', '.join(campaigns.Test)}",
        ),
        (
            "reset_by: [{event: page, where: {price: {at_leest: 5}}}]",
            'reset_by[1].where.price.at_leest: unknown test; did you mean "at_least"?',
        ),
        (
            "reset_by: [{event: page, where: {price: {}}}]",
            f"reset_by[1].where.price: a mapping is empty; the tests are {', '.join(campaigns.Test)}",
        ),
        (
            "reset_by: [{event: page, where: {price: []}}]",
            "reset_by[1].where.price: a list with nothing in it; at least one is needed",
        ),
        (
            "reset_by: [{event: page, where: {price: null}}]",
            "reset_by[1].where.price: null is not a value to compare with (write text, a number, true or false)",
        ),
        (
            "reset_by: [{event: page, where: {price: 1e999}}]",
            "reset_by[1].where.price: 1e999 is too large a number to compare exactly; put it in quotes",
        ),
        (
            "reset_by: [{event: page, where: {account: 9007199254740993}}]",
            "reset_by[1].where.account: 9007199254740993 is too large a number to compare exactly; put it in quotes",
        ),
        (
            "reset_by: [{event: page, where: {price.: 1}}]",
            'reset_by[1].where.price.: "price." is not a property (write color, or traits.plan for one inside another)',
        ),
    ],
)
def test_what_is_wrong_is_told_by_file_line_and_field(write: Write, line: str, what: str) -> None:
    """Whoever wrote it should be able to mend it without asking anybody."""
    text = f"campaigns:\n  cart:\n    template: t\n    wait: 1h\n    opened_by: [Product Added]\n    {line}\n"
    assert problems(write(text)) == [f"campaigns.yaml:6: cart.{what}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["campaigns.yaml:1: campaigns: missing; the file is empty"]),
        ("# nothing yet\n", ["campaigns.yaml:1: campaigns: missing; the file is empty"]),
        ("[cart]", ["campaigns.yaml:1: campaigns: missing"]),
        ("\ncampaigns:\n", ["campaigns.yaml:2: campaigns: no campaign below it"]),
        ("campaigns: {a: }", [f"campaigns.yaml:1: a: an empty value {NOT_FIELDS}"]),
        ("campaigns: {}\ncampains: {}", [
            "campaigns.yaml:1: campaigns: no campaign below it",
            'campaigns.yaml:2: campains: unknown field; did you mean "campaigns"?',
        ]),
        ("campaigns:\n  a:\n   wait: 'x\n", ["campaigns.yaml:4: not YAML: found unexpected end of stream"]),
        ("campaigns:\n\ta: 1\n", [
            "campaigns.yaml:2: not YAML: found character '\\t' that cannot start any token"
        ]),
        ("a: 1\n---\nb: 2\n", ["campaigns.yaml:2: not YAML: but found another document"]),
        ("a: 1\nb: \x07\n", ["campaigns.yaml:2: not YAML: special characters are not allowed"]),
        ("a: " + "[" * 5000, ["campaigns.yaml:1: nested too deeply"]),
    ],
)  # fmt: skip
def test_a_file_that_is_no_campaign_file_is_told_where_it_stops_being_one(
    write: Write, text: str, expected: list[str]
) -> None:
    """An empty file, one that is not YAML, one without campaigns."""
    assert problems(write(text)) == expected


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A path mistyped, a directory, a file in another encoding."""
    missing, latin = tmp_path / "campains.yaml", tmp_path / "latin.yaml"
    latin.write_bytes("campaigns:\n  café: {}\n".encode("latin-1"))
    assert problems(missing) == [f"{missing}: No such file or directory"]
    assert problems(tmp_path) == [f"{tmp_path}: Is a directory"]
    assert problems(latin) == [f"{latin}:2: not UTF-8"]


def test_a_file_from_windows_has_the_same_lines(tmp_path: Path) -> None:
    """A byte order mark and CRLF must neither be refused nor shift the line numbers."""
    path = tmp_path / "campaigns.yaml"
    path.write_bytes(b"\xef\xbb\xbfcampaigns:\r\n  a:\r\n    template: t\r\n    wait: x\r\n    opened_by: [page]\r\n")
    assert problems(path) == [f'{path}:4: a.wait: "x" is not a duration (write 90s, 30m, 1h, 2d)']


def test_one_broken_campaign_hides_nothing_in_the_others(write: Write) -> None:
    """All of the file's problems come at once, in its order: even those of a campaign whose id is taken or wrong."""
    path = write("""\
        campaigns:
          cart_abandonment:
            template: t
            opened_by: [Order Complete]
            wait: soon
          Big Sale:
            template: t
            opened_by: []
            wait: 1h
          loop: &loop
            template: t
            opened_by: [*loop]
            wait: 1h
          braces:
            template: {{ template }}
            opened_by: [page]
            wait: 1h
            wait: 2h
          cart_abandonment:
            opened_by: [page]
        """)
    at, slip = "campaigns.yaml", f'"Order Complete" is not an event; did you mean "Order Completed"? {WAY_OUT}'
    no_name = "cannot be a list or mapping (text with braces needs quotes)"
    assert problems(path) == [
        f"{at}:4: cart_abandonment.opened_by[1]: {slip}",
        f'{at}:5: cart_abandonment.wait: "soon" is not a duration (write 90s, 30m, 1h, 2d)',
        f"{at}:6: Big Sale: not an id (1 to 64 of a-z, 0-9, _ and -)",
        f"{at}:8: Big Sale.opened_by: a list with nothing in it; at least one is needed",
        f"{at}:10: loop: contains itself",
        f"{at}:15: braces.template: a mapping is not text (if it is a name, put it in quotes)",
        f"{at}:15: braces.template: a name of a field {no_name}",
        f"{at}:18: braces.wait: written twice (first on line 17)",
        f"{at}:19: cart_abandonment.template: missing",
        f"{at}:19: cart_abandonment.wait: missing",
        f"{at}:19: cart_abandonment: written twice (first on line 2)",
    ]


def test_a_tag_runs_nothing(write: Write, tmp_path: Path) -> None:
    """YAML can name Python functions to call; a campaign file is data."""
    proof = tmp_path / "proof"
    path = write(f"campaigns:\n  a: !!python/object/apply:os.mkdir ['{proof}']\n")
    assert problems(path) == [f"campaigns.yaml:2: a: a list {NOT_FIELDS}"]
    assert not proof.exists()


_WORDS = st.sampled_from(
    ["campaigns", "opened_by", "reset_by", "where", "event", "payload", "items", "in", "is", "wait", "page", "*", ""]
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text() | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS | st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    entry=st.dictionaries(_WORDS, _ANYTHING, max_size=5)
    | st.builds(
        lambda selections, where: {"opened_by": selections, "reset_by": [{"event": "page", "where": where}]},
        st.lists(_ANYTHING, max_size=3),
        st.dictionaries(_WORDS, _ANYTHING, max_size=3),
    )
)
def test_any_yaml_gets_an_answer_with_lines(tmp_path_factory: pytest.TempPathFactory, entry: dict[str, object]) -> None:
    """Whatever stands in the file: every problem is one line that begins with file and line, never a traceback."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump({"campaigns": {"a": entry}}), encoding="utf-8")
    length = path.read_text(encoding="utf-8").count("\n")
    told = problems(path)
    places = [re.match(rf"{re.escape(str(path))}:([0-9]+): a\S*", line) for line in told]
    assert all(place and 1 <= int(place[1]) <= length for place in places), told


def test_the_schema_in_the_repository_is_that_of_the_code() -> None:
    """Editors complete and check by the schema file; a drifted one would call right wrong.

    `python -m connectors.campaign_file > schemas/campaigns.schema.json` writes it anew.
    """
    written = (ROOT / "schemas" / "campaigns.schema.json").read_text(encoding="utf-8")
    assert written == json.dumps(json_schema(), indent=2) + "\n"


def test_the_examples_in_the_guide_do_what_the_guide_says(write: Write) -> None:
    """Marketers copy from `docs/campaigns.md`: its examples load, and its wrong one is answered as shown."""
    guide = (ROOT / "docs" / "campaigns.md").read_text(encoding="utf-8")
    *right, wrong = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert [len(load(write(example))) for example in right] == [1, 1, 1, 2]
    [answer] = re.findall(r"```text\n(.*?)```", guide, re.DOTALL)
    assert problems(write(wrong)) == answer.splitlines()


@pytest.mark.parametrize("field", sorted(json_schema()["$defs"]["Declaration"]["properties"]))
def test_the_guide_explains_every_field(field: str) -> None:
    """A field that the guide does not name is a field that nobody uses."""
    guide = (ROOT / "docs" / "campaigns.md").read_text(encoding="utf-8")
    assert f"| `{field}` |" in guide or f"| `{field}." in guide
