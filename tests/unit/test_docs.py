"""The pages lead to each other, and the commands on them are commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_cli import COMMANDS, LEAVES

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *DOCS]


def texts_of(page: Path) -> str:
    """Return a page without its examples in fences."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Return what can stand behind `#` in a link to a page, as GitHub calls its headings."""
    headings = re.findall(r"^#+ (.+)$", texts_of(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", texts_of(page))
    lost = []
    for path, anchor in links:
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{path}#{anchor}")
    assert lost == []


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([^)#]+)", README.read_text(encoding="utf-8")))
    assert linked == {page.name for page in DOCS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_with_options_that_is_shown_has_them(page: Path) -> None:
    shown = re.findall(r"^(?: {4}|\$ )(?:.*&& )?factory ([a-z-].*)$", page.read_text(encoding="utf-8"), re.M)
    wrong = []
    for line in shown:
        words = re.split(r"\s(?:#|&&|\|\|?|>)\s", line)[0].split()
        options = [word for word in words if word.startswith("--")]
        named = [words for words in LEAVES if f" {' '.join(words)} " in f" {line} "]
        known = {option for words in [(), *named] for parameter in COMMANDS[words].params for option in parameter.opts}
        wrong += [line for option in options if not named or option not in known]
    assert wrong == []
