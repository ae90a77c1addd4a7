"""Which of the pushed images may go: what no tag that moves, no kept push and nothing else of theirs leads to."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from factory.publish.distribution import Manifest

_PUSH = re.compile(
    r"(?P<line>.+-[0-9]+\.[0-9]+\.[0-9]+(?:-[a-z0-9-]+?)?)-(?P<day>[0-9]{8})-(?P<plan>[0-9a-f]{12})"
    r"(?:-(?P<serial>[0-9]{1,6}))?(?P<staged>-(?:amd64|arm64))?"
)
"""The immutable and the staged tags of `factory.publish.tags`."""

_ATTACHED = re.compile(r"sha256-(?P<subject>[0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
"""What cosign, and registries without an API for it, call what belongs to a manifest."""

_PLACEHOLDERS = {
    "{rust}": r"[0-9]+\.[0-9]+\.[0-9]+",
    "{minor}": r"[0-9]+\.[0-9]+",
    "{date}": r"[0-9]{8}",
    "{plan}": r"[0-9a-f]{12}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What stays: the `keep` newest pushes of each line, and all that are younger than `days`.

    `templates` are those of `image.tags` that name a day or a plan, so that what they make is no moving tag.
    """

    keep: int
    days: int
    today: date
    templates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a repository holds: the digest of each tag, and every manifest that tags lead to, by digest."""

    tags: Mapping[str, str]
    manifests: Mapping[str, Manifest]

    def closure(self, digests: Iterable[str]) -> frozenset[str]:
        """Return the digests with all that is in their indexes."""
        found: set[str] = set()
        left = list(digests)
        while left:
            one = left.pop()
            if one not in found and one in self.manifests:
                found.add(one)
                left += self.manifests[one].children
        return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a tagged manifest, and why; `part_of` is the index, or the owner, that it goes or stays with."""

    digest: str
    tags: tuple[str, ...]
    goes: bool
    reason: str
    part_of: str = ""

    @property
    def attached(self) -> bool:
        """Whether it is a signature, or an attestation, or the list of them, of something."""
        return all(_ATTACHED.fullmatch(tag) for tag in self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict on every tagged manifest, all manifests that go, in the order they have to, and those that stay."""

    verdicts: tuple[Verdict, ...]
    goes: tuple[str, ...]
    stays: frozenset[str]

    def pushes(self, *, going: bool) -> Mapping[Verdict, tuple[Verdict, ...]]:
        """Return each verdict that stands for itself, with those on its parts: a push with images and signatures."""
        rows = {row.digest: row for row in self.verdicts if row.goes is going}
        found: dict[Verdict, list[Verdict]] = {row: [] for row in rows.values() if row.part_of not in rows}
        for row in rows.values():
            whole = row
            while whole.part_of in rows:
                whole = rows[whole.part_of]
            if whole is not row:
                found[whole].append(row)
        return {row: tuple(parts) for row, parts in found.items()}


def judge(found: Inventory, rules: Rules, *, gone: Callable[[str], bool]) -> Judgement:
    """Say what stays and what goes; `gone` tells whether a manifest that no tag leads to is not there at all."""
    tagged: dict[str, list[str]] = defaultdict(list)
    for tag, digest in sorted(found.tags.items()):
        tagged[digest].append(tag)
    names = {digest: _Names.of(tags, rules) for digest, tags in tagged.items()}
    newer = _newer(names)
    reasons = {row: _of_push(each, newer.get(row, {}), rules) for row, each in names.items() if not each.belongs}
    stays = found.closure(digest for digest, reason in reasons.items() if not reason.goes)
    attached = {row: _of_owner(each, found, stays, gone) for row, each in names.items() if each.belongs}
    stays |= found.closure(digest for digest, reason in attached.items() if not reason.goes)
    wholes = _wholes(names, found)
    verdicts = [
        Verdict(
            digest=digest,
            tags=tuple(tagged[digest]),
            goes=digest not in stays,
            reason=reason.text if reason.goes == (digest not in stays) else "in an index that stays",
            part_of=wholes.get(digest, ""),
        )
        for digest, reason in {**reasons, **attached}.items()
    ]
    going = found.closure(row.digest for row in verdicts if row.goes) - stays
    ordered = _ordered(going, found, found.closure(attached))
    return Judgement(verdicts=tuple(sorted(verdicts, key=lambda row: row.tags)), goes=ordered, stays=stays)


def bytes_freed(judgement: Judgement, found: Inventory) -> dict[str, int]:
    """Return for each tagged manifest that goes how much nobody needs any more; what two have counts for the first."""
    taken = {blob for digest, each in found.manifests.items() if digest not in judgement.goes for blob in each.blobs}
    freed = {}
    for row in judgement.verdicts:
        if not row.goes:
            continue
        freed[row.digest] = 0
        for each in (found.manifests[digest] for digest in sorted(found.closure([row.digest]))):
            sizes = {each.digest: each.size, **each.blobs} if each.digest in judgement.goes else {}
            freed[row.digest] += sum(size for blob, size in sizes.items() if blob not in taken)
            taken |= sizes.keys()
    return freed


def leads_on(tag: str, rules: Rules) -> bool:
    """Whether a tag may be moved to another image."""
    return bool(_Names.of([tag], rules).moving)


def pushes_of(line: str, tags: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return day (YYYYMMDD) and tag of each push of a line, such as `web-1.95.0`, the newest first."""
    found = [(push, tag) for tag in tags if (push := _push(tag)) is not None and push.line == line and not push.staged]
    found.sort(key=lambda row: (row[0].day, row[0].serial, row[1]), reverse=True)
    return tuple((push.day.strftime("%Y%m%d"), tag) for push, tag in found)


# Names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Push:
    line: str
    day: date
    serial: int
    staged: bool

    @property
    def layer(self) -> str:
        return re.split(r"-[0-9]+\.[0-9]+\.[0-9]+", self.line, maxsplit=1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What the tags of one manifest say: pushes, others that may move, and to what it belongs (digests)."""

    pushes: tuple[_Push, ...]
    moving: tuple[str, ...]
    belongs: tuple[str, ...]

    @classmethod
    def of(cls, tags: Sequence[str], rules: Rules) -> _Names:
        pushes = [push for push in map(_push, tags) if push is not None]
        dated = [_pattern(template, {push.layer for push in pushes}) for template in rules.templates]
        moving, belongs = [], []
        for tag in tags:
            attached = _ATTACHED.fullmatch(tag)
            if attached is not None:
                belongs.append(f"sha256:{attached['subject']}")
            elif _push(tag) is None and not any(re.fullmatch(pattern, tag) for pattern in dated):
                moving.append(tag)
        return cls(pushes=tuple(pushes), moving=tuple(moving), belongs=() if pushes or moving else tuple(belongs))

    @property
    def joined(self) -> tuple[_Push, ...]:
        """The pushes of whole indexes."""
        return tuple(push for push in self.pushes if not push.staged)


def _push(tag: str) -> _Push | None:
    match = _PUSH.fullmatch(tag)
    if match is None:
        return None
    try:
        day = datetime.strptime(match["day"], "%Y%m%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
    return _Push(line=match["line"], day=day, serial=int(match["serial"] or 1), staged=match["staged"] is not None)


def _pattern(template: str, layers: Iterable[str]) -> str:
    """Return the pattern of what a template makes for layers, with a push's number; suite and label are filled in."""
    known = {**_PLACEHOLDERS, "{layer}": f"(?:{'|'.join(map(re.escape, sorted(layers)))})"}
    parts = re.split(r"(\{[a-z]+\})", template)
    return "".join(known.get(part, re.escape(part)) for part in parts) + "(?:-[0-9]{1,6})?"


# Reasons


@dataclass(frozen=True, slots=True)
class _Reason:
    goes: bool
    text: str


def _newer(names: Mapping[str, _Names]) -> Mapping[str, Mapping[str, int]]:
    """Return for each index, by its lines, how many newer pushes there are."""
    lines: dict[str, dict[str, tuple[date, int]]] = defaultdict(dict)
    for digest, each in names.items():
        for push in each.joined:
            lines[push.line][digest] = max((push.day, push.serial), lines[push.line].get(digest, (date.min, 0)))
    newer: dict[str, dict[str, int]] = defaultdict(dict)
    for line, rows in sorted(lines.items()):
        for number, digest in enumerate(sorted(rows, key=lambda row: (rows[row], row), reverse=True)):
            newer[digest][line] = number
    return newer


def _of_push(names: _Names, newer: Mapping[str, int], rules: Rules) -> _Reason:
    if names.moving:
        return _Reason(goes=False, text=f"tag {', '.join(names.moving[:3])}")
    if not names.pushes:
        return _Reason(goes=False, text="its tags do not say when it was pushed")
    age = min((rules.today - push.day).days for push in names.pushes)
    if age < rules.days:
        return _Reason(goes=False, text=f"pushed {_days(age)} ago")
    for line, number in newer.items():
        if number < rules.keep:
            return _Reason(goes=False, text=f"one of the {rules.keep} newest of {line}")
    if not newer:
        return _Reason(goes=True, text=f"brought up {_days(age)} ago, and in no index that stays")
    counted = ", ".join(f"{number} newer of {line}" for line, number in newer.items())
    return _Reason(goes=True, text=f"{_days(age)} old, {counted}")


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _of_owner(names: _Names, found: Inventory, stays: frozenset[str], gone: Callable[[str], bool]) -> _Reason:
    for owner in names.belongs:
        if owner in stays:
            return _Reason(goes=False, text=f"belongs to {owner[:19]}")
        if owner not in found.manifests and not gone(owner):
            return _Reason(goes=False, text=f"belongs to {owner[:19]}, which has no tag")
    owner = names.belongs[0]
    return _Reason(
        goes=True, text=f"belongs to {owner[:19]}, which {'goes' if owner in found.manifests else 'is not there'}"
    )


def _wholes(names: Mapping[str, _Names], found: Inventory) -> Mapping[str, str]:
    """Return for what has a tag only to be a part, or to belong to something, the tagged manifest that it is with."""
    own = {digest: each for digest, each in names.items() if not each.belongs}
    index_of = {child: digest for digest in sorted(own) for child in found.manifests[digest].children}
    wholes = {}
    for digest, each in names.items():
        if each.belongs:
            owner = each.belongs[0]
            wholes[digest] = owner if owner in own else index_of.get(owner, "")
        elif not each.joined and not each.moving:
            wholes[digest] = index_of.get(digest, "")
    return wholes


def _ordered(going: frozenset[str], found: Inventory, attached: frozenset[str]) -> tuple[str, ...]:
    """Return what goes so that nothing that is left ever names what is not there: indexes, images, then signatures."""
    return tuple(sorted(going, key=lambda row: (row in attached, not found.manifests[row].children, row)))
