"""Style sheets: one set of tokens, no rule for what no page has, any direction."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STATIC = ROOT / "viewerhub" / "static" / "viewerhub"
NAMES = ("viewerhub.css", "admin.css")
# Classes of Unfold, of Django's admin and of htmx.
FOREIGN = {
    "dark",
    "bg-primary-600",
    "change-list",
    "toggle",
    "sortremove",
    "htmx-request",
}
CLASS = r'class=\\?["\']((?:\{[{%].*?[}%]\}|[^"\'>])*)|body_class %\}(.*?)\{%'


def rules(name: str) -> str:
    return re.sub(r"/\*.*?\*/", "", (STATIC / name).read_text(), flags=re.DOTALL)


def classes_of_pages() -> set[str]:
    """What templates, code that makes markup, and strings of scripts name."""
    files = [*(ROOT / "templates").rglob("*.html")]
    for app in ("archives", "launcher", "viewerhub"):
        files += (ROOT / app).rglob("*.py")
    texts = [
        "".join(one) for file in files for one in re.findall(CLASS, file.read_text())
    ]
    for file in STATIC.glob("*.js"):
        texts += re.findall(r'"[^"\n]*"|`[^`]*`', file.read_text())
    return set(re.findall(r"[\w-]+", " ".join(texts))) | FOREIGN


@pytest.mark.parametrize("name", NAMES)
def test_every_class_is_that_of_a_page(name: str):
    known = classes_of_pages()
    prefixes = ("model-", *(one for one in known if one.endswith("-")))
    classes = set(re.findall(r"\.(-?[a-zA-Z][\w-]*)", rules(name)))

    assert {one for one in classes - known if not one.startswith(prefixes)} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_token_is_defined_and_used(name: str):
    text = rules(name)

    used = set(re.findall(r"var\((--[\w-]+)", text))
    defined = set(re.findall(r"(?<![\w-])(--[\w-]+)\s*:", text))

    assert used - defined == set()
    if name == "viewerhub.css":  # Unfold reads those of the other
        assert defined - used == set()


def test_pages_may_run_from_right_to_left():
    physical = (
        r"(?<![\w-])(?:(?:margin|padding|border)-(?:left|right)|(?:left|right))\s*:"
    )

    assert re.findall(physical, rules("viewerhub.css")) == []
    assert re.findall(r"text-align: (?:left|right)", rules("viewerhub.css")) == []
