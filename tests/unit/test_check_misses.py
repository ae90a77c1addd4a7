"""Miss reports: what is in one, how it is delivered, which count, and what an analysis makes of them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory.consumer.misses import (
    TOKEN_VARIABLE,
    MissReport,
    UnknownMiss,
    Weighed,
    deliver,
    json_schema,
    read_misses,
    report_to_json,
    weigh_in,
)
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import canonical_json
from factory.model import Mode
from tests.unit.builders import organisation
from tests.unit.unit_builder import unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from factory.analysis.model import Analysis

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOW = unit("low")
A, B, SCRIPT = (
    unit("a", LOW, features=("x",)),
    unit("b"),
    unit("a", features=("x",), target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD),
)


def report(**changes: Any) -> MissReport:  # noqa: ANN401 - any field
    """The report of a repository that missed `A` and found `B`."""
    document = {
        "schema": 1,
        "repo": "org/shop",
        "date": "2026-11-21",
        "plan": "0" * 64,
        "rustc": "1.95.0",
        "variant": "release",
        "image": "web",
        "units": {"total": 2, "hit": 1},
        "hits": [B.key],
        "misses": [{"key": A.key, "crate": "a", "version": "1.0.0", "features": ["x"], "causes": ["version"]}],
    }
    return MissReport.model_validate_json(json.dumps(document | changes))


def analysis() -> Analysis:
    return replace(organisation(), units={one.key: one for one in (LOW, A, B, SCRIPT)})


def write(folder: Path, name: str, **changes: Any) -> None:  # noqa: ANN401 - any field
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(canonical_json(report_to_json(report(**changes))), encoding="utf-8")


# Delivery


def test_equal_reports_are_one_file(tmp_path: Path) -> None:
    places = {deliver(report(), str(tmp_path / "new"), folder=tmp_path / "new") for _ in range(2)}
    (place,) = places
    assert [path.name for path in (tmp_path / "new").iterdir()] == [Path(place).name]
    assert read_misses([tmp_path / "new"]) == (report(),)
    deliver(report(date="2026-11-22"), "", folder=tmp_path / "new")
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on loopback that keeps what it gets: `/gone/` is refused, `/moved` redirects."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(
                {
                    "how": self.command,
                    "path": self.path,
                    "token": self.headers["Authorization"],
                    "body": json.loads(body),
                }
            )
            self.send_response({"/gone/": 410, "/moved": 307}.get(self.path[:6], 201))
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PUT = answer  # noqa: N815 - named by the library

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", got
        listening.shutdown()
        thread.join()


def test_a_folder_url_gets_a_file_and_any_other_a_post(
    server: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = server
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    deliver(report(), f"{url}/misses/", folder=None)
    monkeypatch.setenv(TOKEN_VARIABLE, "s3cret")
    assert "s3cret" not in deliver(report(), f"{url}/collect?key=s3cret", folder=None)
    put, post = got
    assert (put["how"], post["how"], post["path"]) == ("PUT", "POST", "/collect?key=s3cret")
    assert put["path"].startswith("/misses/")
    assert put["path"].endswith(".json")
    assert (put["token"], post["token"]) == (None, "Bearer s3cret")
    assert put["body"] == post["body"] == report_to_json(report())


def test_refusals_and_redirects_are_failures_that_show_no_secret(
    server: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = server
    monkeypatch.setenv(TOKEN_VARIABLE, "s3cret")
    for path, status in (("/gone/", 410), ("/moved", 307)):
        with pytest.raises(EnvironmentFaultError, match=f"answered {status}") as refused:
            deliver(report(), f"{url}{path}".replace("http://", "http://user:s3cret@"), folder=None)
        assert "s3cret" not in str(refused.value)
    assert [request["path"][:6] for request in got] == ["/gone/", "/moved"]


def test_a_token_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "s3cret")
    with pytest.raises(ConfigurationError, match="not sent without TLS"):
        deliver(report(), "http://reports.example.org/", folder=None)


def test_a_server_that_does_not_answer_and_a_bad_url_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(EnvironmentFaultError, match="cannot be delivered"):
        deliver(report(), "http://127.0.0.1:9/x", folder=None)
    with pytest.raises(ConfigurationError, match="not a URL"):
        deliver(report(), "gopher://127.0.0.1/x", folder=None)


# Reading


def test_the_newest_report_of_a_repository_and_variant_counts(tmp_path: Path) -> None:
    write(tmp_path / "in", "1.json", date="2026-01-01", image="old")
    write(tmp_path / "in", "2.json", date="2026-02-01", image="new")
    write(tmp_path / "in", "3.json", date="2026-01-15", variant="dev")
    write(tmp_path / "in", "4.json", date="2026-01-15", repo="org/other")
    read = read_misses([tmp_path / "in", tmp_path / "in/1.json"])
    assert [(one.repo, one.variant, one.image) for one in read] == [
        ("org/other", "release", "web"),
        ("org/shop", "dev", "web"),
        ("org/shop", "release", "new"),
    ]


def test_every_file_that_is_no_report_is_named(tmp_path: Path) -> None:
    write(tmp_path / "in", "good.json")
    (tmp_path / "in/text.json").write_text("no", encoding="utf-8")
    (tmp_path / "in/key.json").write_text(
        json.dumps(report_to_json(report()) | {"hits": ["../../etc/passwd"], "more": 1}), encoding="utf-8"
    )
    with pytest.raises(ConfigurationError) as refused:
        read_misses([tmp_path / "in"])
    assert f"{tmp_path}/in/text.json: " in str(refused.value)
    assert f"{tmp_path}/in/key.json: hits.0: " in str(refused.value)
    assert "good.json" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="no such file or folder"):
        read_misses([tmp_path / "gone"])


# Weighing


def users(weighed: Weighed) -> dict[str, set[str]]:
    """The repositories that were added, with the units that they use."""
    added = [workspace for workspace in weighed.analysis.workspaces if workspace.repo.startswith("reported:")]
    return {row.repo: {key for use in row.variants.values() for key in use.keys} for row in added}


def test_misses_and_hits_of_an_unknown_repository_are_uses_with_all_below() -> None:
    weighed = weigh_in([report(), report(repo="org/other", hits=[])], analysis())
    assert users(weighed) == {"reported:org/shop": {A.key, B.key, LOW.key}, "reported:org/other": {A.key, LOW.key}}
    assert weighed.unknown == ()
    assert weighed.analysis.workspaces[:-2] == analysis().workspaces


def test_warm_units_without_keys_are_uses_too() -> None:
    found = [{"crate": "b", "version": "1.0.0", "kind": "lib", "features": []}]
    (used,) = users(weigh_in([report(hits=[], warm=found)], analysis())).values()
    assert used == {A.key, B.key, LOW.key}
    known = organisation().workspaces[0].repo
    assert B.key not in set().union(*users(weigh_in([report(repo=known, hits=[], warm=found)], analysis())).values())


def test_hits_of_an_analysed_repository_count_once() -> None:
    known = organisation().workspaces[0].repo
    assert users(weigh_in([report(repo=f"org/{known}")], analysis())) == {f"reported:org/{known}": {A.key, LOW.key}}


def test_another_variant_than_the_analysed_ones_adds_nothing() -> None:
    assert users(weigh_in([report(variant="dev")], analysis())) == {}


def test_a_record_without_a_key_stands_for_the_units_that_fit() -> None:
    def meant(**record: Any) -> set[str]:  # noqa: ANN401 - any field
        missed = {"crate": "a", "version": "1.0.0"} | record
        (found,) = users(weigh_in([report(hits=[], misses=[missed])], analysis())).values()
        return found

    assert meant() == meant(features=["x"]) == {A.key, LOW.key}
    assert meant(features=["y"]) == set()
    assert meant(kind="run-custom-build") == {SCRIPT.key}
    assert meant(version="1.0.1") == set()


def test_what_the_analysis_does_not_know_is_listed() -> None:
    missed = [{"key": "f" * 32, "crate": "a", "version": "1.0.0"}, {"crate": "z", "version": "9.0.0"}]
    weighed = weigh_in([report(hits=[], misses=missed), report(repo="b", hits=[], misses=missed[1:])], analysis())
    assert set().union(*users(weighed).values()) == set()
    assert weighed.unknown == (
        UnknownMiss(crate="a", version="1.0.0", repos=("org/shop",)),
        UnknownMiss(crate="z", version="9.0.0", repos=("b", "org/shop")),
    )


def test_the_documentation_has_the_schema() -> None:
    _, _, rest = (DOCS / "misses.md").read_text("utf-8").partition("```json\n")
    assert json.loads(rest.partition("```")[0]) == json_schema()
