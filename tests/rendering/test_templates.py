"""What is wrong with a template is said in one line with its file and line, before anybody gets an email of it."""

from pathlib import Path

import pytest

from rendering.problems import TemplateError
from rendering.renderer import Renderer
from rendering.template_folder import shop_of, template_folder
from tests.rendering.samples import NAMES, RENDERER, given, template


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("one\ntwo {{ x\nthree", "t.mjml:6: {{ is not closed"),
        ("one\n{% if x %}\nthree", "t.mjml:6: "),
        ("one\n\n{% endif %}", "t.mjml:7: "),
        ("one\n{{ x | shout }}", "t.mjml:6: unknown filter 'shout'"),
        ("one\n{{ x | safe }}", "t.mjml:6: unknown filter 'safe'"),
        ("one\n{% include 'x' %}", "t.mjml:6: "),
        ("one\n{{ x | | y }}", "t.mjml:6: "),
        ("one\n{%\n  for x\n%}{% endfor %}", "t.mjml:6: "),
        ("one\n{{ x\n }}\n{{ x | shout }}", "t.mjml:8: unknown filter"),
        ("one\n</mj-column>", "t.mjml:6: </mj-column> does not close the tag that is open there"),
        ("one</mj-text><mj-picture\n/><mj-text>", "t.mjml:5: MJML knows no <mj-picture> there"),
        ("one\n<script>alert(1)</script>", "t.mjml:6: an email runs no script"),
        ('\n<a href="javascript:{{ x }}">x</a>', "t.mjml:6: an address begins with https:// and a host"),
        ('\n<a href="https://{{ x }}/">x</a>', "t.mjml:6: an address begins with https:// and a host"),
        ('\n<a href="{% if x %}https://a.example{% endif %}">x</a>', "t.mjml:6: decide outside of an address"),
        (
            '\n<b style="color:{{ x }}">x</b>',
            "t.mjml:6: in a style, or an attribute for one, only `| colour` may print",
        ),
        ('\n<b onclick="{{ x }}">x</b>', "t.mjml:6: in a style, or an attribute for one"),
        ("</mj-text>\n{{ x }}<mj-text>y", "t.mjml:6: prints between the cells of a table"),
        ("{% if x %}{% if y %}{% endif %}\n{% for z in x %}{% endfor %}", "t.mjml:5: "),
        ('\n<mj-include path="row.mjml" />', "t.mjml:6: includes row.mjml, which cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(body: str, said: str) -> None:
    """In Liquid, in MJML, and in what would be unsafe."""
    with pytest.raises(TemplateError) as error:
        Renderer(given(t=template(body))).compiled("t")
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<mjml></mjml>", "t.mjml:1: begins with no front matter"),
        ("---\nsubject: x\n", "t.mjml:1: begins with no front matter"),
        ("---\nsubject: x\n---\n", "t.mjml:1: front matter: Object missing required field `preheader`"),
        (
            "---\nsubject: x\npreheader: y\nsubjekt: z\n---\n",
            "t.mjml:1: front matter: Object contains unknown field `subjekt`",
        ),
        ("---\nsubject: 'x\npreheader: y\n---\n", "t.mjml:"),
        ("---\nsubject: '{{ x'\npreheader: y\n---\n", "t.mjml:2: "),
        ("---\nsubject: x\npreheader: '{{ x | shout }}'\n---\n", "t.mjml:3: unknown filter 'shout'"),
    ],
)
def test_front_matter_is_checked(text: str, said: str) -> None:
    """A misspelt field would otherwise be ignored."""
    with pytest.raises(TemplateError) as error:
        Renderer(given(t=text)).compiled("t")
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_an_error_in_a_partial_names_the_partial() -> None:
    """Not the line of the template that the partial happens to come to stand on."""
    files = given(t=template('\n<mj-include path="partials/row.mjml" />'), partials__row="fine\n\n{{ x | shout }}")
    with pytest.raises(TemplateError, match=r"^partials/row\.mjml:3: unknown filter"):
        Renderer(files).compiled("t")


def test_liquid_that_only_outlook_would_read_is_refused() -> None:
    """MJML moves what stands between the sections of a wrapper into a comment: a condition there would be none."""
    body = "x</mj-text></mj-column></mj-section><mj-wrapper><mj-section></mj-section>\n<mj-raw>{% if x %}{% endif %}</mj-raw>"
    end = "</mj-wrapper><mj-section><mj-column><mj-text>y"
    with pytest.raises(TemplateError, match=r"^t\.mjml:6: only Outlook would see"):
        Renderer(given(t=template(body + end))).compiled("t")


def test_a_partial_that_includes_itself_is_refused() -> None:
    """It would never end."""
    row = '<mj-include path="partials/row.mjml" />'
    with pytest.raises(TemplateError, match="deeper than"):
        Renderer(given(t=template(row), partials__row=row)).compiled("t")


@pytest.mark.parametrize("name", ["", "../shop", "a/b", ".hidden", "a\nb", "x" * 101])
def test_a_template_id_is_no_path(name: str) -> None:
    """It comes from campaigns.yaml, by way of the topic."""
    with pytest.raises(TemplateError, match="is no name of a template"):
        RENDERER.compiled(name)


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    """Not by dots, and not by a link."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    load = template_folder(tmp_path / "in")
    for path in ("../secret", "link", str(tmp_path / "secret")):
        with pytest.raises(TemplateError, match="lies outside the templates"):
            load(path)
    with pytest.raises(TemplateError, match=r"gone\.mjml: No such file or directory"):
        load("gone.mjml")


def test_a_shop_file_of_anything_but_texts_is_refused(tmp_path: Path) -> None:
    """A list has no place in a sentence."""
    (tmp_path / "shop.yaml").write_text("name: [a, b]")
    with pytest.raises(TemplateError, match=r"^shop\.yaml: "):
        shop_of(template_folder(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_every_template_is_compiled_once(name: str) -> None:
    """MJML costs milliseconds, and is out of the way of sending."""
    assert RENDERER.compiled(name) is RENDERER.compiled(name)


def test_liquid_may_hold_what_xml_may_not() -> None:
    """Comparisons, quotes of both kinds, several lines, and comments of both kinds."""
    body = '{% if a < b and b > a %}{{ x | default: "it\'s" }}{% endif %}'
    body += "{%\n comment %}{{ nobody }}{% endcomment %}<!-- {{ no }} -->"
    email = Renderer(given(t=template(body))).render("t", {"a": 1, "b": 2})
    assert email.text == "it's\n"
