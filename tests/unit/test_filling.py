"""Mails' templates filled by our own function, beside Django's rendering of the same."""

import copy
import re
from typing import Any

import pytest
from django.conf import LazySettings
from django.template import Context, Engine, TemplateDoesNotExist, TemplateSyntaxError
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from notifications.catalogue import MAILS
from notifications.emails import Facts, render
from notifications.filling import fill
from notifications.samples import sample

PARTS = [
    (f"notifications/{template}/{part}", autoescape)
    for template in sorted({mail.template for mail in MAILS.values()})
    for part, autoescape in (("subject.txt", False), ("text.txt", False), ("mail.html", True))
]
HOSTILE = "Ada\r\n<script>alert('x')</script> & \"{{ number }}\" 👩‍👩‍👧‍👦 עדה"
# What the templates decide by, in every combination that an order can come to, and in some that none can.
DECISIVE: list[Facts] = [
    {"why": why, "refund": refund, "at_bank": at_bank, "partial": refund, "missing": missing}
    for why in ("sold_out", "asked", "store", "unpaid", "undeliverable", "")
    for refund in (True, False)
    for at_bank in (True, False)
    for missing in ([], [HOSTILE], ["Wool blanket", "Lamp & shade"])
]


def rendered(name: str, data: Facts, *, autoescape: bool) -> str:
    """The plain version: Django's own."""
    return str(Engine.get_default().get_template(name).render(Context(data, autoescape=autoescape)))


def use(settings: LazySettings, templates: dict[str, str], *, invalid: str = "no such value") -> None:
    """Templates of the test's own; `invalid` is shown for what nobody has given."""
    engines: list[Any] = copy.deepcopy(settings.TEMPLATES)
    engines[0] |= {"APP_DIRS": False}
    engines[0]["OPTIONS"] |= {
        "loaders": [("django.template.loaders.locmem.Loader", templates)],
        "string_if_invalid": invalid,
    }
    settings.TEMPLATES = engines


def everything(template: str) -> Facts:
    return {**DECISIVE[0], "hold_minutes": 60, "carrier": "DHL", "tracking": "1", "amount": "€1.00", **sample(template)}


@pytest.mark.parametrize(("name", "autoescape"), PARTS)
def test_every_mail_is_what_django_renders(name: str, autoescape: bool) -> None:
    data = everything(name.split("/")[1])
    hostile = {key: HOSTILE if isinstance(value, str) else value for key, value in data.items()}
    lines = [{"name": HOSTILE, "quantity": 12345, "amount": HOSTILE}]
    unusual = {"name": mark_safe("<b>"), "total": 12.5, "number": None, "url": True, "hold_minutes": 10**6}
    shapes: list[Facts] = [
        *(data | each for each in DECISIVE),
        hostile,
        hostile | {"lines": lines, "address": [HOSTILE] * 5, "missing": [HOSTILE]},
        data | {"lines": [], "address": []},
        data | {"lines": None, "address": None},
        data | {"lines": [{}, {"name": 1}]},
        data | unusual,
        {},
    ]
    for shape in shapes:
        assert fill(name, shape, autoescape=autoescape) == rendered(name, shape, autoescape=autoescape)


@given(name=st.text(), goods=st.lists(st.text(), max_size=4), quantity=st.integers())
def test_whatever_customers_and_goods_are_called(name: str, goods: list[str], quantity: int) -> None:
    lines = [{"name": each, "quantity": quantity, "amount": each} for each in goods]
    data = sample("order_shipped") | {"name": name, "lines": lines, "address": [name, *goods], "carrier": name}
    for path, autoescape in PARTS:
        if "order_shipped" in path:
            assert fill(path, data, autoescape=autoescape) == rendered(path, data, autoescape=autoescape)


@given(tracking=st.text(alphabet=" \t\nx\r\u2003"))
def test_a_text_is_tidied_as_by_regular_expressions(tracking: str) -> None:
    data = sample("order_shipped") | {"tracking": tracking}
    text = rendered("notifications/order_shipped/text.txt", data, autoescape=False)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    assert render("order_shipped", data).text == re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


LANGUAGE = {
    "grandparent": "<{% block a %}A{% endblock %}|{% block b %}B {% block c %}C{% endblock %}{% endblock %}>{{ x }}",
    "parent": '{% extends "grandparent" %}ignored{% block a %}a {{ x }}{% endblock %}{% block c %}c{% endblock %}',
    "child": '{% extends "parent" %}{% block a %}{% include "part" %}{% endblock %}',
    "part": "{% block a %}its own {{ x }}{% endblock %}{# nothing #}",
    "loop": (
        "{% for each in rows %}{{ forloop.counter }}/{{ forloop.revcounter }}/{{ forloop.counter0 }}"
        "/{{ forloop.revcounter0 }}{% if forloop.first %}f{% elif forloop.last %}l{% else %}-{% endif %}"
        "{% for part in each.parts %}{{ part }}{{ forloop.parentloop.counter }}{{ x }}{% empty %}none{% endfor %}"
        '{{ each.parts.0 }}{{ each.name|upper|default:"?" }}{{ each.missing }}{% endfor %}{{ each }}{{ forloop }}'
    ),
    "if": "{% if x and not y or z > 3 %}1{% endif %}{% if nobody %}2{% elif y == x %}3{% else %}4{% endif %}",
    "value": '{{ x|default:"&" }}{{ "<i>" }}{{ x|safe }}{{ rows|length }}{{ 1.5 }}{{ x.upper }}{{ rows.0.name }}',
}


@pytest.mark.parametrize("name", LANGUAGE)
@pytest.mark.parametrize("autoescape", [True, False])
def test_the_language_is_djangos(name: str, autoescape: bool, settings: LazySettings) -> None:
    use(settings, LANGUAGE)
    rows = [{"name": "<a>", "parts": ["&", 2]}, {"name": "", "parts": []}, {"name": "c", "parts": [None]}]
    for data in ({"x": "<x>", "y": "", "z": 4, "rows": rows}, {"x": "", "y": "", "z": 0, "rows": rows[:1]}, {}):
        assert fill(name, data, autoescape=autoescape) == rendered(name, data, autoescape=autoescape)


@pytest.mark.parametrize(
    "template",
    [
        "{% with a=1 %}{{ a }}{% endwith %}",
        "{% include other %}",
        '{% include "part" with x=1 %}',
        '{% include "part" only %}',
        "{% extends other %}",
        '{% extends "parent" %}{% block a %}{{ block.super }}{% endblock %}',
        "{% for a, b in rows %}{{ a }}{% endfor %}",
        "{% for a in rows reversed %}{{ a }}{% endfor %}",
        "{% autoescape off %}{{ x }}{% endautoescape %}",
    ],
)
def test_what_no_mail_has_needed_is_refused(template: str, settings: LazySettings) -> None:
    use(settings, LANGUAGE | {"new": template})
    with pytest.raises(TemplateSyntaxError):
        fill("new", {"other": "part", "rows": [], "x": ""}, autoescape=True)


def test_a_template_that_is_not_there() -> None:
    with pytest.raises(TemplateDoesNotExist):
        fill("notifications/order_confirmed/mail.pdf", {}, autoescape=True)
