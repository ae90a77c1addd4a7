"""How the modules stand on one another: no circles, not even for types alone, and lower parts know no upper ones."""

from __future__ import annotations

import ast
import functools
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "factory"


@functools.cache
def imports() -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports, wherever the import stands."""
    files = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        found[name] = (named | {str(node.module) for node in nodes}) & files.keys()
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert len(list(TopologicalSorter(imports()).static_order())) > 50


@pytest.mark.parametrize(
    ("lower", "uppers"),
    [
        ("factory.cargo", ("scan", "analysis", "planning", "cook", "proof")),
        ("factory.scan", ("cargo", "analysis", "planning", "cook", "proof")),
        ("factory.analysis", ("planning", "cook", "proof")),
        ("factory.costs", ("planning", "cook", "proof")),
    ],
)
def test_lower_parts_know_no_upper_ones(lower: str, uppers: tuple[str, ...]) -> None:
    modules = {name: used for name, used in imports().items() if name.startswith(f"{lower}.")}
    assert len(modules) > 1
    forbidden = tuple(f"factory.{upper}." for upper in uppers)
    assert {name: used for name, used in modules.items() if any(one.startswith(forbidden) for one in used)} == {}
