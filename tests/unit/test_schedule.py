"""`factory schedule`: times that every scheduler reads, and files that the platforms' own schemas and tools accept."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema  # type: ignore[import-untyped]
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from factory import process
from factory.config.model import BuildCacheSettings, ImageSettings, PushSettings, RepositorySource, Settings
from factory.errors import ConfigurationError
from factory.platforms import Platform
from factory.schedule.files import Schedule, Scheduler, schedule_files, write_schedule
from factory.schedule.times import CronTime

if TYPE_CHECKING:
    from collections.abc import Mapping

MONDAY = CronTime.parse("17 3 * * 1")


def settings(*, registry: str = "registry.test", push: PushSettings | None = None) -> Settings:
    return Settings(
        image=ImageSettings(registry=registry, name="org/rust-builder"),
        push=push or PushSettings(),
        sources=(RepositorySource(git="https://git.example.org/orders.git"),),
    )


def schedule(
    scheduler: Scheduler,
    time: CronTime = MONDAY,
    *,
    prune: bool = False,
    runners: Mapping[Platform, str] | None = None,
) -> Schedule:
    return Schedule(
        scheduler=scheduler,
        time=time,
        timezone="Europe/Vienna",
        folder=Path("/srv/my images"),
        max_age=30,
        prune=prune,
        runners=runners or {},
    )


# Times


@pytest.mark.parametrize(
    ("text", "calendar"),
    [
        ("17 3 * * 1", "Mon *-*-* 3:17:00"),
        ("0 2 1,15 * *", "*-*-1,15 2:0:00"),
        ("*/15 0-6 * 1-3 *", "*-1..3-* 0..6:0/15:00"),
        ("5 4 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 4:5:00"),
        ("5 4 * * 0,7", "Sun *-*-* 4:5:00"),
        ("5 4 */2 * *", "*-*-1/2 4:5:00"),
    ],
)
@pytest.mark.runs_programs
def test_a_time_is_what_systemd_calls_it(text: str, calendar: str) -> None:
    time = CronTime.parse(text)
    assert (str(time), time.calendar) == (text, calendar)
    if shutil.which("systemd-analyze"):
        process.run(["systemd-analyze", "calendar", calendar], timeout=60)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@weekly", "1 fields, not five"),
        ("0 17 3 * * 1", "6 fields, not five"),
        ("60 3 * * 1", "minute '60' is not within 0 to 59"),
        ("17 24 0 13 8", "hour '24' is not within 0 to 23; day of the month '0'"),
        ("17 5-3 * * 1", "hour '5-3' ends before it begins"),
        ("17 3 * * MON", "day of the week 'MON' is no number"),
        ("5/10 3 * * 1", "minute '5/10': a step is behind * or a range"),
        ("*/0 3 * * 1", "minute '*/0': a step is behind * or a range"),
        ("1,, 3 * * 1", "minute '1,,' is no number"),
    ],
)
def test_what_not_every_scheduler_reads_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CronTime.parse(text)
    assert told in caught.value.what


def test_systemd_has_no_name_for_either_of_two_days() -> None:
    with pytest.raises(ConfigurationError, match="either of the two days"):
        _ = CronTime.parse("17 3 1 * 1").calendar


# Files


@pytest.mark.parametrize("scheduler", Scheduler)
def test_a_schedule_prunes_after_a_rebuild_where_that_is_wanted(scheduler: Scheduler) -> None:
    def text(*, prune: bool) -> str:
        return "".join(schedule_files(schedule(scheduler, prune=prune), settings()).values())

    assert " prune" not in text(prune=False)
    rebuild, _, after = text(prune=True).partition("factory --quiet prune")
    assert re.search("factory --quiet rebuild .*--push", rebuild)
    # Nothing to prune is no failure either; systemd takes two dollars for one.
    assert re.match(r" \|\| test \$\$?\? -eq 3", after)


@pytest.mark.parametrize("sign", ["none", "key", "keyless"])
@pytest.mark.parametrize("registry", ["ghcr.io", "registry.test"])
@pytest.mark.parametrize(
    ("scheduler", "schema"), [(Scheduler.GITHUB, "vendor.github-workflows"), (Scheduler.GITLAB, "vendor.gitlab-ci")]
)
def test_pipelines_are_valid_by_the_schema_of_their_platform(
    scheduler: Scheduler, schema: str, registry: str, sign: str
) -> None:
    push = PushSettings.model_validate({"sign": sign, **({"key": "cosign.key"} if sign == "key" else {})})
    (text,) = schedule_files(schedule(scheduler), settings(registry=registry, push=push)).values()
    document = YAML(typ="safe").load(text)
    problems = [problem.message for problem in Draft7Validator(get_builtin_schema(schema)).iter_errors(document)]
    assert problems == []
    assert "factory --quiet rebuild --state rebuild --max-age 30 --push || test $? -eq 3" in text
    assert ("id-token: write" in text or "id_tokens:" in text) == (sign == "keyless")
    assert ("cosign" in text) == (sign != "none")
    assert registry in text


def test_github_asks_for_the_time_and_for_no_more_rights_than_it_needs() -> None:
    (text,) = schedule_files(schedule(Scheduler.GITHUB), settings(registry="ghcr.io")).values()
    document = YAML(typ="safe").load(text)
    assert document["on"]["schedule"] == [{"cron": "17 3 * * 1"}]
    assert document["permissions"] == {"contents": "read", "packages": "write"}


@pytest.mark.parametrize(
    ("scheduler", "schema"), [(Scheduler.GITHUB, "vendor.github-workflows"), (Scheduler.GITLAB, "vendor.gitlab-ci")]
)
def test_runners_keep_what_a_build_cache_needs(scheduler: Scheduler, schema: str) -> None:
    def text(**cache: str) -> str:
        chosen = settings().model_copy(update={"build_cache": BuildCacheSettings.model_validate(cache)})
        (found,) = schedule_files(schedule(scheduler), chosen).values()
        assert list(Draft7Validator(get_builtin_schema(schema)).iter_errors(YAML(typ="safe").load(found))) == []
        return found

    kept = text(type="local", folder="cooked-before")
    assert [line.strip(" -") for line in kept.splitlines()].count("cooked-before") == 1
    assert ("ghaction-github-runtime" in text(type="gha")) == (scheduler is Scheduler.GITHUB)
    assert "ghaction-github-runtime" not in text(type="registry")


def of_both(**changes: object) -> Settings:
    return settings(registry="ghcr.io").model_copy(update={"platforms": tuple(Platform), **changes})


@pytest.mark.parametrize("sign", ["none", "key", "keyless"])
@pytest.mark.parametrize(
    ("scheduler", "schema"), [(Scheduler.GITHUB, "vendor.github-workflows"), (Scheduler.GITLAB, "vendor.gitlab-ci")]
)
def test_a_pipeline_of_several_platforms_is_valid_and_joins_at_its_end(
    scheduler: Scheduler, schema: str, sign: str
) -> None:
    push = PushSettings.model_validate({"sign": sign, **({"key": "cosign.key"} if sign == "key" else {})})
    cache = BuildCacheSettings.model_validate({"type": "local", "folder": "cooked-before"})
    (text,) = schedule_files(schedule(scheduler, prune=True), of_both(push=push, build_cache=cache)).values()
    document = YAML(typ="safe").load(text)
    problems = [problem.message for problem in Draft7Validator(get_builtin_schema(schema)).iter_errors(document)]
    assert problems == []
    told = [line.strip(" -") for line in text.splitlines() if "factory --quiet" in line]
    assert [re.sub(r".*factory --quiet ", "", line) for line in told] == [
        f"--platform {'${{ matrix.platform }}' if scheduler is Scheduler.GITHUB else '$PLATFORM'} rebuild "
        "--state rebuild --max-age 30 --stage || test $? -eq 3",
        "push --join --state rebuild || test $? -eq 3",
        "prune || test $? -eq 3",
    ]
    assert text.count("id-token: write" if scheduler is Scheduler.GITHUB else "id_tokens:") == (sign == "keyless")


def test_github_builds_each_platform_natively_and_signs_only_at_the_end() -> None:
    push = PushSettings.model_validate({"sign": "keyless"})
    (text,) = schedule_files(schedule(Scheduler.GITHUB), of_both(push=push)).values()
    document = YAML(typ="safe").load(text)
    rebuild, publish = document["jobs"]["rebuild"], document["jobs"]["publish"]
    rows = {row["platform"]: row["runner"] for row in rebuild["strategy"]["matrix"]["include"]}
    assert rows == {"linux/amd64": "ubuntu-24.04", "linux/arm64": "ubuntu-24.04-arm"}
    assert publish["needs"] == "rebuild"
    # What compiles other people's code cannot sign.
    assert "id-token" not in document["permissions"]
    assert "permissions" not in rebuild
    assert publish["permissions"]["id-token"] == "write"
    (up,) = [step["with"] for step in rebuild["steps"] if "upload-artifact" in step.get("uses", "")]
    (down,) = [step["with"] for step in publish["steps"] if "download-artifact" in step.get("uses", "")]
    assert (up["path"], down["path"], down["merge-multiple"]) == ("rebuild", "rebuild", True)
    assert up["name"].startswith(down["pattern"].rstrip("*"))


@pytest.mark.parametrize("scheduler", [Scheduler.GITHUB, Scheduler.GITLAB])
def test_runners_of_ones_own_are_taken(scheduler: Scheduler) -> None:
    (both,) = schedule_files(schedule(scheduler, runners={Platform.LINUX_ARM64: "our-arm"}), of_both()).values()
    assert re.search(r"(?i)runner: our-arm$", both, re.MULTILINE)
    (single,) = schedule_files(schedule(scheduler, runners={Platform.LINUX_AMD64: "our-amd"}), settings()).values()
    assert re.search(r"(runs-on: our-amd|tags: \[our-amd\])$", single, re.MULTILINE)


@pytest.mark.parametrize("scheduler", [Scheduler.KUBERNETES, Scheduler.CRON, Scheduler.SYSTEMD])
def test_one_machine_builds_all_platforms_and_pushes_them_together(scheduler: Scheduler) -> None:
    texts = schedule_files(schedule(scheduler), of_both()).values()
    assert any("rebuild --state rebuild --max-age 30 --push" in text for text in texts)
    if scheduler is Scheduler.KUBERNETES:
        _, job = YAML(typ="safe").load_all("".join(texts))
        kubernetes_validate.validate(job, "1.31", strict=True)
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert [row["name"] for row in pod["initContainers"]] == ["engine", "emulation"]
    with pytest.raises(ConfigurationError, match="--runner is for github and gitlab"):
        schedule_files(schedule(scheduler, runners={Platform.LINUX_ARM64: "x"}), of_both())


def test_a_runner_of_a_platform_that_is_not_built_is_told() -> None:
    with pytest.raises(ConfigurationError, match="--runner names linux/arm64, and `platforms` lists linux/amd64"):
        schedule_files(schedule(Scheduler.GITHUB, runners={Platform.LINUX_ARM64: "x"}), settings())


def test_kubernetes_accepts_its_documents_and_runs_one_at_a_time() -> None:
    (text,) = schedule_files(schedule(Scheduler.KUBERNETES), settings()).values()
    claim, job = YAML(typ="safe").load_all(text)
    for document in (claim, job):
        kubernetes_validate.validate(document, "1.31", strict=True)
    assert (job["spec"]["schedule"], job["spec"]["timeZone"]) == ("17 3 * * 1", "Europe/Vienna")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.runs_programs
def test_systemd_accepts_its_units(tmp_path: Path) -> None:
    texts = schedule_files(schedule(Scheduler.SYSTEMD, prune=True), settings())
    assert texts["rust-builder.timer"].count("OnCalendar=Mon *-*-* 3:17:00") == 1
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    paths = write_schedule(texts, tmp_path, force=False)
    done = process.run(["systemd-analyze", "verify", *map(str, paths)], check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "rust-builder" in line]
    assert ours == []


def test_a_crontab_goes_to_the_folder_and_takes_nothing_to_do_for_success() -> None:
    (text,) = schedule_files(schedule(Scheduler.CRON), settings()).values()
    assert text.splitlines()[-1].startswith(
        "17 3 * * 1  cd '/srv/my images' && { factory --quiet rebuild --state rebuild "
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"image": ImageSettings(registry="")}, "`image.registry` is empty"),
        ({"sources": ()}, "`sources` is empty"),
    ],
)
def test_what_no_schedule_can_do_is_told(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        schedule_files(schedule(Scheduler.CRON), settings().model_copy(update=wrong))
    assert told in caught.value.what


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    texts = schedule_files(schedule(Scheduler.SYSTEMD), settings())
    (tmp_path / "rust-builder.timer").write_text("mine")
    with pytest.raises(ConfigurationError, match="there already"):
        write_schedule(texts, tmp_path, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["rust-builder.timer"]
    assert (tmp_path / "rust-builder.timer").read_text() == "mine"
    write_schedule(texts, tmp_path, force=True)
    assert (tmp_path / "rust-builder.timer").read_text() == texts["rust-builder.timer"]
