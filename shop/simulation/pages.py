"""What a browser makes of a page: its links, its forms and what it complains about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self


@dataclass(slots=True)
class Field:
    """A control of a form: an input's type, or `select`, `textarea`, `button`. `value` is what would be sent."""

    name: str
    kind: str
    value: str = ""
    is_chosen: bool = True
    options: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Form:
    action: str
    method: str
    fields: list[Field] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return any(each.name == name for each in self.fields)

    def choices(self, name: str) -> list[str]:
        """The values that a select or a group of radio buttons offers; the empty one is none."""
        offered = [
            value
            for each in self.fields
            if each.name == name
            for value in (each.options if each.kind == "select" else [each.value])
        ]
        return [value for value in offered if value]

    def filled(self, answers: Mapping[str, str]) -> dict[str, str]:
        """What a browser sends with these answers: everything else stays as the page has it, hidden fields too.

        Raises KeyError for an answer that the form did not ask for.
        """
        for name in answers:
            if not self.has(name):
                raise KeyError(f"the form has no field {name!r}")
        sent = {each.name: each.value for each in self.fields if each.is_chosen and each.kind != "button"}
        return {**sent, **answers}


class Page(HTMLParser):
    """`alerts` holds the texts that the page puts before its reader: errors and messages. `messages` are the admin's
    words about what was done just now, each with its level. `poll` is how soon the page's script would ask again:
    soon, later or never; `etag` is what it would name then. Both are empty on pages without."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.alerts: list[str] = []
        self.messages: list[tuple[str, str]] = []
        self.poll = ""
        self.etag = ""
        self._form: Form | None = None
        self._text: Field | None = None
        self._option: str | None = None
        self._alert_depth = 0
        self._alert: list[str] = []
        self._in_messages = False
        self._level: str | None = None
        self._message: list[str] = []

    @classmethod
    def read(cls, html: str) -> Self:
        page = cls()
        page.feed(html)
        page.close()
        return page

    def form_with(self, name: str) -> Form | None:
        """The first form that is sent by POST and asks for this."""
        return next((form for form in self.forms if form.method == "post" and form.has(name)), None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.poll = given.get("data-poll", self.poll)
        self.etag = given.get("data-etag", self.etag)
        if self._alert_depth:
            self._alert_depth += tag not in _VOID
        elif given.get("role") in ("alert", "status") or "errorlist" in given.get("class", "").split():
            self._alert_depth = 1
        match tag:
            case "a" if "href" in given:
                self.links.append(given["href"])
            case "ul" if "messagelist" in given.get("class", "").split():
                self._in_messages = True
            case "li" if self._in_messages:
                self._level = given.get("class", "")
            case "form":
                self._form = Form(action=given.get("action", ""), method=given.get("method", "get").lower())
                self.forms.append(self._form)
            case "input" | "select" | "textarea" | "button":
                self._control(tag, given, is_checked=any(name == "checked" for name, _ in attrs))
            case "option" if self._text is not None and self._text.kind == "select":
                value = given.get("value", "")
                if not self._text.options or any(name == "selected" for name, _ in attrs):
                    self._text.value = value
                self._text.options.append(value)

    def _control(self, tag: str, given: dict[str, str], *, is_checked: bool) -> None:
        if self._form is None or not given.get("name") or "disabled" in given:
            return
        kind = given.get("type", "text").lower() if tag == "input" else tag
        if kind in ("submit", "image", "reset"):
            kind = "button"
        can_be_off = kind in ("radio", "checkbox")
        control = Field(
            name=given["name"],
            kind=kind,
            value=given.get("value", "on" if can_be_off else ""),
            is_chosen=is_checked or not can_be_off,
        )
        self._form.fields.append(control)
        if tag in ("select", "textarea"):
            self._text = control

    def handle_endtag(self, tag: str) -> None:
        match tag:
            case "form":
                self._form = None
            case "select" | "textarea":
                self._text = None
            case "li" if self._level is not None:
                self.messages.append((self._level, " ".join(" ".join(self._message).split())))
                self._level = None
                self._message.clear()
            case "ul":
                self._in_messages = False
        if self._alert_depth and tag not in _VOID:
            self._alert_depth -= 1
            if not self._alert_depth:
                text = " ".join(" ".join(self._alert).split())
                self.alerts += [text] if text else []
                self._alert.clear()

    def handle_data(self, data: str) -> None:
        if self._text is not None and self._text.kind == "textarea":
            self._text.value += data
        if self._alert_depth:
            self._alert.append(data)
        if self._level is not None:
            self._message.append(data)


_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
