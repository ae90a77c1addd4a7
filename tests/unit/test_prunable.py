"""What may be pruned: nothing that a moving tag, a kept push or an image that stays leads to."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.publish.distribution import Manifest
from factory.publish.prunable import Inventory, Judgement, Rules, bytes_freed, judge, leads_on, pushes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = date(2026, 11, 29)
PLAN = "0123abcd4567"


def digest(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def day(age: int) -> str:
    return (TODAY - timedelta(days=age)).strftime("%Y%m%d")


class Shelf:
    """A repository that is put together name by name; a name stands for the manifest of that name."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.manifests: dict[str, Manifest] = {}

    def image(self, name: str, *tags: str, layers: Sequence[str] = ("base",)) -> None:
        self._add(name, (), {digest(layer): 100 for layer in layers}, tags)

    def index(self, name: str, children: Sequence[str], *tags: str) -> None:
        self._add(name, children, {}, tags)

    def push(self, age: int, *more: str, line: str = "web-1.95.0", serial: str = "") -> str:
        """A whole push, as `factory push` leaves it; return the name of its index."""
        tag = f"{line}-{day(age)}-{PLAN}{serial}"
        self.image(f"{tag} amd64", f"{tag}-amd64", layers=("base", f"{tag} layer"))
        self.index(tag, [f"{tag} amd64"], tag, *more)
        return tag

    def _add(self, name: str, children: Sequence[str], blobs: dict[str, int], tags: Sequence[str]) -> None:
        self.manifests[digest(name)] = Manifest(
            digest=digest(name), size=10, children=tuple(map(digest, children)), blobs=blobs
        )
        self.tags |= dict.fromkeys(tags, digest(name))

    @property
    def inventory(self) -> Inventory:
        return Inventory(tags=self.tags, manifests=self.manifests)

    def judged(self, *, keep: int = 1, templates: tuple[str, ...] = (), gone: bool = True) -> Judgement:
        rules = Rules(keep=keep, days=30, today=TODAY, templates=templates)
        return judge(self.inventory, rules, gone=lambda _: gone)

    def goes(self, *, keep: int = 1, templates: tuple[str, ...] = (), gone: bool = True) -> set[str]:
        names = {digest(name): name for name in self._names}
        return {names[one] for one in self.judged(keep=keep, templates=templates, gone=gone).goes}

    @property
    def _names(self) -> set[str]:
        return {tag.removesuffix("-amd64") for tag in self.tags} | {
            f"{tag.removesuffix('-amd64')} amd64" for tag in self.tags
        }

    def reasons(self, *, keep: int = 1) -> dict[str, str]:
        return {row.tags[0]: row.reason for row in self.judged(keep=keep).verdicts}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_the_newest_and_the_young_stay(shelf: Shelf) -> None:
    ages = (5, 29, 30, 90, 200)
    names = [shelf.push(age) for age in ages]
    assert shelf.goes(keep=1) == {part for name in names[2:] for part in (name, f"{name} amd64")}
    assert shelf.goes(keep=4) == {names[4], f"{names[4]} amd64"}
    assert shelf.goes(keep=5) == set()
    reasons = shelf.reasons(keep=3)
    assert [reasons[name] for name in names] == [
        "pushed 5 days ago",
        "pushed 29 days ago",
        "one of the 3 newest of web-1.95.0",
        "90 days old, 3 newer of web-1.95.0",
        "200 days old, 4 newer of web-1.95.0",
    ]


def test_layers_and_rows_of_the_matrix_are_counted_apart(shelf: Shelf) -> None:
    for line in ("core-1.95.0", "web-1.95.0", "web-1.96.0", "web-1.95.0-trixie-dev"):
        shelf.push(100, line=line)
    assert shelf.goes(keep=1) == set()


def test_pushes_of_a_line_are_told_from_the_newest_on() -> None:
    mine = [f"web-1.95.0-{rest}" for rest in (f"20261101-{PLAN}", f"20261129-{PLAN}", f"20261129-{PLAN}-2")]
    mine += [f"web-1.95.0-20261128-{PLAN}-{serial}" for serial in (10, 9)]
    others = ["web", "core-1.95.0-20261129-" + PLAN, f"web-1.95.0-trixie-20261129-{PLAN}", f"{mine[1]}-amd64"]
    assert pushes_of("web-1.95.0", [*mine, *others]) == (
        ("20261129", f"web-1.95.0-20261129-{PLAN}-2"),
        ("20261129", f"web-1.95.0-20261129-{PLAN}"),
        ("20261128", f"web-1.95.0-20261128-{PLAN}-10"),
        ("20261128", f"web-1.95.0-20261128-{PLAN}-9"),
        ("20261101", f"web-1.95.0-20261101-{PLAN}"),
    )


def test_a_later_push_of_one_day_is_the_newer_one(shelf: Shelf) -> None:
    first, second, tenth = shelf.push(50), shelf.push(50, serial="-2"), shelf.push(50, serial="-10")
    assert shelf.goes(keep=1) == {first, second, f"{first} amd64", f"{second} amd64"}
    assert tenth not in shelf.goes(keep=1)


def test_what_a_moving_tag_stands_for_stays_however_old(shelf: Shelf) -> None:
    old = shelf.push(400, "web")
    shelf.push(300)
    shelf.push(3)
    assert {name for name in shelf.goes(keep=1) if old in name} == set()
    assert shelf.reasons(keep=1)[old if old < "web" else "web"] == "tag web"


def test_an_image_stays_while_any_index_that_stays_holds_it(shelf: Shelf) -> None:
    old = shelf.push(100)
    shelf.image("new arm64", f"web-1.95.0-{day(1)}-{PLAN}-arm64")
    shelf.index("new", [f"{old} amd64", "new arm64"], f"web-1.95.0-{day(1)}-{PLAN}")
    assert shelf.goes(keep=1) == {old}
    row = next(row for row in shelf.judged().verdicts if row.tags == (f"{old}-amd64",))
    assert (row.goes, row.reason) == (False, "in an index that stays")


def test_an_upload_that_no_index_followed_goes_once_it_is_old(shelf: Shelf) -> None:
    shelf.image("left", f"web-1.95.0-{day(40)}-{PLAN}-amd64")
    shelf.image("under way", f"web-1.95.0-{day(0)}-{PLAN}-amd64")
    judged = shelf.judged()
    assert judged.goes == (digest("left"),)
    assert {row.reason for row in judged.verdicts} == {
        "brought up 40 days ago, and in no index that stays",
        "pushed 0 days ago",
    }


def test_an_old_image_that_is_pushed_again_today_is_young(shelf: Shelf) -> None:
    old = shelf.push(100)
    shelf.push(50)
    shelf.tags[f"web-1.95.0-{day(0)}-{PLAN}-amd64"] = digest(f"{old} amd64")
    assert f"{old} amd64" not in shelf.goes(keep=1)


@pytest.mark.parametrize("ending", [".sig", ".att", ".sbom", ""])
def test_signatures_go_with_what_they_belong_to_and_last(shelf: Shelf, ending: str) -> None:
    old, new = shelf.push(100), shelf.push(1)
    for name in (old, new):
        shelf.index(f"sign {name}", [f"bundle {name}"], digest(name).replace(":", "-") + ending)
        shelf.image(f"bundle {name}")
    goes = shelf.judged(keep=1).goes
    assert goes[0] == digest(old)
    assert set(goes[-2:]) == {digest(f"sign {old}"), digest(f"bundle {old}")}
    assert len(goes) == 4


def test_a_push_is_told_with_its_images_and_what_is_attached_to_any_of_them(shelf: Shelf) -> None:
    old, young = shelf.push(100), shelf.push(1)
    for name in (old, f"{old} amd64", young):
        shelf.image(f"sign {name}", f"{digest(name).replace(':', '-')}.sig")
    shelf.image("lone", f"{digest('nowhere').replace(':', '-')}.sig")
    judged = shelf.judged()
    goes = {row.digest: {each.digest for each in parts} for row, parts in judged.pushes(going=True).items()}
    parts = {digest(f"{old} amd64"), digest(f"sign {old}"), digest(f"sign {old} amd64")}
    assert goes == {digest(old): parts, digest("lone"): set()}
    stays = {row.digest: {each.digest for each in parts} for row, parts in judged.pushes(going=False).items()}
    assert stays == {digest(young): {digest(f"{young} amd64"), digest(f"sign {young}")}}
    assert judged.stays == {digest(young), digest(f"{young} amd64"), digest(f"sign {young}")}


def test_names_that_belong_to_each_other_are_told_both(shelf: Shelf) -> None:
    for one, other in (("one", "other"), ("other", "one")):
        shelf.image(one, f"{digest(other).replace(':', '-')}.sig")
    assert {row.digest for row in shelf.judged().pushes(going=True)} == {digest("one"), digest("other")}


def test_signatures_of_what_is_not_there_go_and_of_what_only_has_no_tag_stay(shelf: Shelf) -> None:
    shelf.image("sign", f"{digest('nowhere').replace(':', '-')}.sig")
    assert shelf.judged(gone=True).goes == (digest("sign"),)
    assert shelf.judged(gone=False).goes == ()


@pytest.mark.parametrize(
    "tag", ["web", "web-1.95", "buildcache", "web-1.95.0-20261399-0123abcd4567", "web-1.95.0-20200101-0123ABCD4567"]
)
def test_what_factory_did_not_push_stays(shelf: Shelf, tag: str) -> None:
    shelf.image("other", tag)
    assert shelf.goes(keep=1) == set()
    assert leads_on(tag, Rules(keep=1, days=2, today=TODAY))


def test_a_tag_of_somebodys_own_that_looks_like_a_template_stays(shelf: Shelf) -> None:
    kept = shelf.push(50, "prod-20260115", "web-20260115-2")
    shelf.push(40)
    assert shelf.goes(keep=1, templates=("{layer}-{date}",)) == set()
    assert "prod-20260115" in next(
        row.reason for row in shelf.judged(templates=("{layer}-{date}",)).verdicts if kept in row.tags
    )


def test_tags_of_templates_with_a_day_or_a_plan_hold_nothing(shelf: Shelf) -> None:
    old = shelf.push(100, f"of-web.{day(100)}", f"web-1.95-{PLAN}")
    shelf.push(1)
    templates = ("of-{layer}.{date}", "{layer}-{minor}-{plan}")
    assert shelf.goes(keep=1) == set()
    assert shelf.goes(keep=1, templates=templates) == {old, f"{old} amd64"}
    shelf.image("only named so", f"of-core.{day(999)}")
    assert digest("only named so") not in shelf.judged(templates=templates).goes


def test_bytes_are_what_nobody_needs_any_more_and_count_once(shelf: Shelf) -> None:
    first, second = shelf.push(100), shelf.push(99)
    shelf.push(1)
    judged = shelf.judged(keep=1)
    # An index and an image of 10 bytes each, and the layer of its own; the base is in what stays.
    assert bytes_freed(judged, shelf.inventory)[digest(first)] == 120
    assert sum(bytes_freed(judged, shelf.inventory).values()) == 240
    assert digest(second) in bytes_freed(judged, shelf.inventory)


def test_an_index_goes_before_its_images(shelf: Shelf) -> None:
    names = [shelf.push(age) for age in (100, 99, 98)]
    shelf.push(1)
    goes = shelf.judged(keep=1).goes
    assert set(goes[:3]) == {digest(name) for name in names}
    assert set(goes[3:]) == {digest(f"{name} amd64") for name in names}


PUSHES = st.lists(
    st.tuples(st.integers(0, 120), st.sampled_from(["web-1.95.0", "core-1.95.0"]), st.integers(0, 3), st.booleans()),
    max_size=8,
    unique_by=lambda row: (row[0], row[1]),
)


@given(PUSHES, st.integers(1, 4))
def test_nothing_that_stays_ever_lacks_a_part(pushes: list[tuple[int, str, int, bool]], keep: int) -> None:
    shelf = Shelf()
    for age, line, image, moving in pushes:
        tag = f"{line}-{day(age)}-{PLAN}"
        shelf.image(f"image {image}", f"{tag}-amd64")
        shelf.index(tag, [f"image {image}"], tag, *([f"moving-{age}-{line}"] if moving else []))
        shelf.image(f"sign {tag}", f"{digest(tag).replace(':', '-')}.sig")
    judged = shelf.judged(keep=keep)
    going = set(judged.goes)
    for one, manifest in shelf.manifests.items():
        assert one in going or not going & set(manifest.children)
    for age, line, _, moving in pushes:
        index = digest(f"{line}-{day(age)}-{PLAN}")
        assert not (index in going and (moving or age < 30))
        assert (digest(f"sign {line}-{day(age)}-{PLAN}") in going) == (index in going)
    for line in {line for _, line, _, _ in pushes}:
        ages = sorted(age for age, each, _, _ in pushes if each == line)
        assert not {digest(f"{line}-{day(age)}-{PLAN}") for age in ages[:keep]} & going
