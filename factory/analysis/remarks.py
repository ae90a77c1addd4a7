"""What people have to know of workspaces: what is the matter with many of a repository is one line, not hundreds."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.scan.model import SkipReason

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_PATHS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What is said of one workspace; `text` begins with the `reason` and a colon where it was skipped."""

    path: str
    repo: str
    skipped: bool
    text: str

    @property
    def reason(self) -> str:
        """The word for why it was skipped, "" where it was not."""
        return self.text.partition(":")[0] if self.skipped else ""

    @property
    def without_path(self) -> str:
        """What may be said of other workspaces in the same words."""
        return self.text.replace(f"{self.path}: ", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRemark:
    """What is said of one workspace, or of several of one repository that were skipped for one reason."""

    paths: tuple[str, ...]
    skipped: bool
    text: str

    @property
    def where(self) -> str:
        """The first of the paths, and how many more there are."""
        more = len(self.paths) - _MOST_PATHS
        return f"{', '.join(self.paths[:_MOST_PATHS])}{f' and {more} more' if more > 0 else ''}"


def fold_remarks(remarks: Iterable[Remark], *, all_of_them: bool = False) -> list[FoldedRemark]:
    """Return one row for each reason in each repository, sorted by path; what has no lockfile is last.

    Mostly examples have none. More than three that were skipped for one reason are one row with the text of the first,
    as are those of which the same is said. With `all_of_them` every remark has a row of its own.
    """
    rows: list[FoldedRemark] = []
    for those in _by_kind(remarks).values():
        together = not all_of_them and (len(those) > _MOST_PATHS or len({each.without_path for each in those}) == 1)
        rows += [_folded(those)] if together else [_folded([each]) for each in those]
    return sorted(rows, key=lambda row: (row.text.startswith(f"{SkipReason.NO_LOCKFILE}:"), row.paths))


def reasons_of(remarks: Iterable[Remark]) -> str:
    """Return the reasons for which workspaces were skipped, each with their number, the most frequent first."""
    counted = Counter(remark.reason for remark in remarks if remark.skipped)
    return ", ".join(f"{reason} {number}" for reason, number in sorted(counted.items(), key=lambda i: (-i[1], i[0])))


def _by_kind(remarks: Iterable[Remark]) -> dict[tuple[str, str], list[Remark]]:
    found: dict[tuple[str, str], list[Remark]] = defaultdict(list)
    for remark in sorted(remarks, key=lambda remark: remark.path):
        found[remark.repo, remark.reason or remark.text].append(remark)
    return found


def _folded(those: list[Remark]) -> FoldedRemark:
    first = those[0]
    paths = tuple(each.path for each in those)
    texts = {each.without_path for each in those}
    if len(those) == 1:
        text = first.text
    elif len(texts) == 1:
        text = first.without_path
    else:
        text = f"{first.text} (the first of {len(those)})"
    return FoldedRemark(paths=paths, skipped=first.skipped, text=text)
