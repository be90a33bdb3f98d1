"""A page as people see it: at a desk in light and dark, on a phone in both.

Each look is checked with axe-core. With PICTURES=1 in the environment it is also written to var/pictures/, for a person
to look at: `PICTURES=1 make test ARGS=tests/e2e`. (Not to test-results/: pytest-playwright empties that at each start.)
"""

import os
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
# axe-core's options. A dark page differs in its colours alone (tests/unit/test_styles.py).
ALL_RULES = {"resultTypes": ["violations"]}
COLOURS = {**ALL_RULES, "runOnly": ["color-contrast", "link-in-text-block"]}
LOOKS: dict[str, tuple[dict[str, int], str, dict[str, list[str]]]] = {
    "light": (DESK, "light", ALL_RULES),
    "dark": (DESK, "dark", COLOURS),
    "phone": (PHONE, "light", ALL_RULES),
    "phone-dark": (PHONE, "dark", COLOURS),
}
# Of axe-core's four degrees, those that shut somebody out.
SHUTS_OUT = ("serious", "critical")
PICTURES = Path(__file__).parents[2] / "var" / "pictures"
# Images further down load when somebody scrolls there; nobody does.
_LOAD_ALL = """() => Promise.all([...document.images].map((each) => {
    each.loading = "eager";
    return each.decode();
}))"""


def inspect(page: Page, name: str) -> None:
    """Look at the page in every way; fails with what shuts somebody out, or is wider than the screen."""
    size = page.viewport_size
    found = []
    page.evaluate(AXE_SCRIPT)
    for look, (viewport, scheme, rules) in LOOKS.items():
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        # Without motion, colours do not fade: what axe-core measures is what stays.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        if os.environ.get("PICTURES") == "1":
            page.evaluate(_LOAD_ALL)
            page.screenshot(path=PICTURES / f"{name}-{look}.png", full_page=True)
        found += [f"{name}, {look}: {problem}" for problem in _problems(page, rules)]
        width = page.evaluate("document.documentElement.scrollWidth")
        found += [f"{name}, {look}: {width} pixels wide"] if width > viewport["width"] else []
    page.emulate_media(color_scheme="null", reduced_motion="null")
    if size is not None:
        page.set_viewport_size(size)
    assert not found, "\n".join(found)


def _problems(page: Page, rules: dict[str, list[str]]) -> list[str]:
    violations: list[dict[str, Any]] = page.evaluate("rules => axe.run(rules)", rules)["violations"]
    return [
        f"{violation['impact']} {violation['id']} at {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for violation in violations
        if violation["impact"] in SHUTS_OUT
        for node in violation["nodes"]
    ]
