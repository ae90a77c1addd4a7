"""Text files from templates: Dockerfiles, workflows, units of systemd. The report's page is HTML, and apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from factory.github_actions import at_commit
from factory.resources import templates

if TYPE_CHECKING:
    from collections.abc import Mapping


def render(template: str, values: Mapping[str, object]) -> str:
    """Return the text of a template, such as `consumer/dockerignore.jinja`; every value it names has to be there."""
    return _ENVIRONMENT.get_template(template).render(values)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(templates()),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - no HTML; every value is checked where it is read
    # Workflows have braces of their own.
    block_start_string="[%",
    block_end_string="%]",
    variable_start_string="[[",
    variable_end_string="]]",
    comment_start_string="[#",
    comment_end_string="#]",
)
_ENVIRONMENT.filters["at_commit"] = at_commit
