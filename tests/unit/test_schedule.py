"""`factory schedule`: times that every scheduler reads, and files that the platforms' own schemas and tools accept."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema  # type: ignore[import-untyped]
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from factory import process
from factory.config.model import (
    BuildCacheSettings,
    CostSettings,
    GitAccessSettings,
    ImageSettings,
    PushSettings,
    RegistrySettings,
    RepositorySource,
    Settings,
)
from factory.errors import ConfigurationError
from factory.files import write_new
from factory.github_actions import COMMITS, at_commit
from factory.platforms import Platform
from factory.publish.signing import COSIGN_RELEASE, OLDEST_COSIGN
from factory.resources import templates
from factory.schedule.files import Schedule, Scheduler, schedule_files
from factory.schedule.package import Package
from factory.schedule.times import CronTime
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OURS = Package.parse("git+https://h.test/f.git@v1")
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
    package: Package | None = OURS,
) -> Schedule:
    return Schedule(
        scheduler=scheduler,
        time=time,
        timezone="Europe/Vienna",
        folder=Path("/srv/my images"),
        max_age=30,
        prune=prune,
        runners=runners or {},
        package=package,
    )


def only(chosen: Schedule, its: Settings) -> dict[str, Any]:
    """Return the one file of a schedule as YAML."""
    (text,) = schedule_files(chosen, its).values()
    document: dict[str, Any] = YAML(typ="safe").load(text)
    return document


def pod_of(its: Settings) -> dict[str, Any]:
    """Return the pod of a schedule for Kubernetes, which Kubernetes accepts."""
    (text,) = schedule_files(schedule(Scheduler.KUBERNETES), its).values()
    claim, job = YAML(typ="safe").load_all(text)
    for document in (claim, job):
        kubernetes_validate.validate(document, "1.31", strict=True)
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def registry(name: str, kind: str, place: str) -> RegistrySettings:
    """Return a registry of crates with the place of its token."""
    return RegistrySettings.model_validate({"name": name, "index": f"sparse+https://crates.test/{name}/", kind: place})


KNOWN = {"url": "https://known.test/platform", "username": "ci", "token_env": "KNOWN"}


def private(**changes: object) -> Settings:
    """Return settings that take tokens for crates, for git packages, and for sources of three hosts."""
    return settings().model_copy(
        update={
            "registries": (registry("ours", "token_env", "OURS"),),
            "git": (GitAccessSettings.model_validate(KNOWN),),
            "sources": tuple(
                RepositorySource(git=f"https://{host}/team/{name}.git")
                for host, name in [("known.test", "a"), ("git.example.org", "b"), ("git.example.org", "c")]
            ),
            **changes,
        }
    )


FILES = (registry("filed", "token_file", "/run/secrets/filed"),)
BY_KEY = PushSettings(sign="key", key="cosign.key")
KEYLESS = PushSettings(sign="keyless")


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


# What is installed


@pytest.mark.parametrize(
    ("text", "plain", "exact"),
    [
        ("rust-warm-factory", "rust-warm-factory", "rust-warm-factory[exact]"),
        ("ours>=0.2,<0.3", "ours>=0.2,<0.3", "ours[exact]>=0.2,<0.3"),
        ("rust-warm-factory[postgres]==0.1.0", "rust-warm-factory[postgres]==0.1.0", None),
        (
            "git+https://h.test/f.git@v1#subdirectory=a",
            "rust-warm-factory @ git+https://h.test/f.git@v1#subdirectory=a",
            None,
        ),
        ("https://h.test:8443/a@1/f.whl#sha256=0", "rust-warm-factory @ https://h.test:8443/a@1/f.whl#sha256=0", None),
        ("git+ssh://git@h.test/f.git", "rust-warm-factory @ git+ssh://git@h.test/f.git", None),
        (
            "ours[exact] @ https://h.test/ours-1-py3-none-any.whl",
            "ours[exact] @ https://h.test/ours-1-py3-none-any.whl",
            None,
        ),
        ("rust_warm_factory-0.1.0-py3-none-any.whl", "rust_warm_factory-0.1.0-py3-none-any.whl", None),
        ("./a/f-1.tar.gz[exact]", "./a/f-1.tar.gz[exact]", "./a/f-1.tar.gz[exact]"),
    ],
)
def test_a_package_is_named_as_pip_names_it(text: str, plain: str, exact: str | None) -> None:
    package = Package.parse(text)
    assert package.with_extras() == plain
    assert exact in {None, package.with_extras(["exact"])}
    requirement = package.with_extras(["exact", "postgres"])
    assert requirement.count("[exact,postgres]") == requirement.count("[") == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "a; rm -rf ~",
        "--index-url=x",
        "-r.whl",
        "a$HOME",
        'a"b',
        "a`b`",
        "http://h.test/a.whl",
        "a==",
        "a\n",
        ".",
    ],
)
def test_what_is_no_package_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no requirement that pip and pipx both take"):
        Package.parse(text)


@pytest.mark.parametrize(
    "url",
    [
        "git+https://ci:s3cret@h.test/f.git",
        "https://s3cret@h.test/f.whl",
        "git+ssh://git:s3cret@h.test/f",
        "git+ssh://git@h.test/f git+https://ci:s3cret@h.test/f.git",
        # Of these pip takes none, or a shell no more than a part.
        "git+https://ci:s3cret$et@h.test/f.git",
        "git+https://ci:p@s3cret@h.test/f.git",
        "http://ci:s3cret@h.test/f.whl",
        "HTTPS://ci:s3cret@h.test/f.whl",
        "svn+https://u:s3cret@h.test/x",
        "git+ssh://s3cret$@h.test/f",
    ],
)
@pytest.mark.parametrize("before", ["", "ours @ ", "ours[exact]@"])
def test_a_package_holds_no_password(url: str, before: str) -> None:
    with pytest.raises(ConfigurationError, match="user name or a password") as caught:
        Package.parse(before + url)
    assert "s3cret" not in caught.value.what + caught.value.advice


QUERY = "a query string"
NO_PACKAGE = "no requirement that pip and pipx both take"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://h.test/f.whl?token=s3cret", QUERY),
        ("git+https://h.test/f.git?private_token=s3cret#subdirectory=a", QUERY),
        ("http://h.test/$a.whl?s3cret", QUERY),
        ("git+https://ci:s3cret/x@h.test/f.git", NO_PACKAGE),
        ("https://ci:s3cret#x@h.test/f.whl", NO_PACKAGE),
        ("https://ci:s3cret%40h.test/f.whl", NO_PACKAGE),
        ("//ci:s3cret@h.test/f.whl", NO_PACKAGE),
        ("git+ssh:/git:s3cret@h.test/f", NO_PACKAGE),
        ("https://h.test/f.whl token=s3cret", NO_PACKAGE),
    ],
)
def test_nothing_of_what_is_refused_is_shown(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        Package.parse(text)
    assert "s3cret" not in caught.value.what + caught.value.advice


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("both", [False, True])
def test_every_scheduler_installs_the_package_that_is_named(scheduler: Scheduler, both: bool) -> None:
    its = settings().model_copy(update={"platforms": tuple(Platform)} if both else {})
    text = "".join(schedule_files(schedule(scheduler), its).values())
    joins = scheduler is Scheduler.GITHUB and both
    assert set(re.findall(r'install "(.*)"', text)) == {
        "rust-warm-factory[exact] @ git+https://h.test/f.git@v1",
        *(["rust-warm-factory @ git+https://h.test/f.git@v1"] if joins else []),
    }


@pytest.mark.parametrize("scheduler", Scheduler)
def test_no_job_installs_what_nobody_named(scheduler: Scheduler) -> None:
    """Whoever registers a name on PyPI would get the tokens of the job."""
    chosen = schedule(scheduler, package=None)
    if scheduler in {Scheduler.CRON, Scheduler.SYSTEMD}:
        text = "".join(schedule_files(chosen, settings()).values())
        assert "pipx" not in text
        assert "installed with its extras [exact]." in text
        return
    for its in (chosen, replace(chosen, runners={Platform.LINUX_AMD64: "ours"})):
        with pytest.raises(ConfigurationError, match=f"--package is missing: a job of {scheduler} ") as caught:
            schedule_files(its, settings())
        for form in ("git+https://HOST/REPO.git@TAG", "https://HOST/NAME.whl", "rust-warm-factory==0.1.0"):
            assert form in caught.value.advice


def test_a_shared_store_of_costs_takes_its_driver() -> None:
    its = private(costs=CostSettings(url="postgresql://ci@db.test/costs"))
    (text,) = schedule_files(schedule(Scheduler.GITLAB), its).values()
    assert '"rust-warm-factory[exact,postgres] @ ' in text
    service, _ = schedule_files(schedule(Scheduler.SYSTEMD, package=None), its).values()
    assert "installed with its extras [exact,postgres]." in service


def test_a_wheel_has_to_be_where_the_job_is() -> None:
    there, here = Package.parse("./a.whl"), Package.parse("/srv/a.whl")
    assert schedule_files(schedule(Scheduler.GITHUB, package=there), settings())
    assert schedule_files(schedule(Scheduler.CRON, package=here), settings())
    assert schedule_files(schedule(Scheduler.GITLAB, package=here, runners={Platform.LINUX_AMD64: "ours"}), settings())
    with pytest.raises(ConfigurationError, match=r"/srv/a\.whl: a job of gitlab does not have"):
        schedule_files(schedule(Scheduler.GITLAB, package=here), settings())
    ssh = Package.parse("git+ssh://git@h.test/f.git")
    assert schedule_files(schedule(Scheduler.CRON, package=ssh), settings())
    with pytest.raises(ConfigurationError, match="a job of github does not have this machine's ssh keys"):
        schedule_files(schedule(Scheduler.GITHUB, package=ssh), settings())
    for package in (there, here):
        with pytest.raises(ConfigurationError, match="a job of kubernetes has no repository"):
            schedule_files(schedule(Scheduler.KUBERNETES, package=package), settings())


# Secrets


@pytest.mark.parametrize("both", [False, True])
def test_github_gives_each_step_the_secrets_it_needs_and_no_others(both: bool) -> None:
    changes = {"platforms": tuple(Platform)} if both else {}
    document = only(schedule(Scheduler.GITHUB), private(push=BY_KEY, **changes))
    assert list(Draft7Validator(get_builtin_schema("vendor.github-workflows")).iter_errors(document)) == []
    given = {
        name: {key for key, value in step["env"].items() if "secrets." in value}
        for name, job in document["jobs"].items()
        for step in job["steps"]
        if "env" in step
    }
    fetching = {"OURS", "KNOWN", "SOURCES_TOKEN"}
    signing = {"COSIGN_PASSWORD"}
    assert given == ({"rebuild": fetching, "publish": signing} if both else {"rebuild": fetching | signing})
    (step,) = [step for step in document["jobs"]["rebuild"]["steps"] if "env" in step]
    assert step["env"]["OURS"] == "${{ secrets.OURS }}"
    assert "env" not in document
    assert all("env" not in job for job in document["jobs"].values())


def asked(variables: Mapping[str, str], url: str, tokens: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return what git is told by its helpers for a URL, "" where it would have to ask."""
    done = process.run(
        ["git", "credential", "fill"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **variables,
            **tokens,
        },
        stdin=f"url={url}\n\n",
        check=False,
        timeout=60,
    )
    rows = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return {name: rows.get(name, "") for name in ("username", "password")}


@pytest.mark.runs_programs
def test_git_sends_a_token_to_its_own_host_alone(tmp_path: Path) -> None:
    document = only(schedule(Scheduler.GITHUB), private())
    (step,) = [step for step in document["jobs"]["rebuild"]["steps"] if "env" in step]
    of_pod = {row["name"]: row.get("value", "") for row in pod_of(private())["containers"][0]["env"]}
    script = only(schedule(Scheduler.GITLAB), private())["rust-builder"]["script"]
    exports = [line for line in script if line.startswith("export GIT_")]
    said = process.run(["sh", "-c", "; ".join([*exports, "env -0"])], env={"PATH": os.environ["PATH"]}).stdout
    of_gitlab = dict(row.partition("=")[::2] for row in said.split("\0"))
    tokens = {"KNOWN": "one", "SOURCES_TOKEN": "two"}
    for variables in (step["env"], of_pod, of_gitlab):
        git = {name: value for name, value in variables.items() if name.startswith("GIT_")}
        assert git["GIT_CONFIG_COUNT"] == "2"
        known = {"username": "ci", "password": "one"}
        assert asked(git, "https://known.test/team/a.git", tokens, tmp_path) == known
        theirs = {"username": "x-access-token", "password": "two"}
        assert asked(git, "https://git.example.org/team/b.git", tokens, tmp_path) == theirs
        nobody = {"username": "", "password": ""}
        assert asked(git, "https://elsewhere.test/team/b.git", tokens, tmp_path) == nobody
        assert asked(git, "http://git.example.org/team/b.git", tokens, tmp_path) == nobody


def test_every_host_of_sources_has_a_token_of_its_own() -> None:
    hosts = ("git.example.org", "code.example.com:8443")
    its = settings().model_copy(
        update={"sources": tuple(RepositorySource(git=f"https://{host}/a.git") for host in hosts)}
    )
    (text,) = schedule_files(schedule(Scheduler.GITHUB), its).values()
    for name in ("SOURCES_TOKEN_GIT_EXAMPLE_ORG", "SOURCES_TOKEN_CODE_EXAMPLE_COM_8443"):
        assert f"{name}: ${{{{ secrets.{name} }}}}" in text


@pytest.mark.parametrize("scheduler", Scheduler)
def test_every_schedule_says_which_secrets_to_create(scheduler: Scheduler) -> None:
    text = "".join(schedule_files(schedule(scheduler), private(push=BY_KEY)).values())
    for name in ("OURS", "KNOWN", "COSIGN_PASSWORD"):
        assert re.search(f"^# +{name}: .*(token|password)", text, re.MULTILINE)
    # On a machine of one's own, git reads the sources as it does by hand.
    assert ("SOURCES_TOKEN" in text) == (scheduler not in {Scheduler.CRON, Scheduler.SYSTEMD})


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("keys/cosign.key", {"COSIGN_PASSWORD"}),
        ("env://OUR_KEY", {"COSIGN_PASSWORD", "OUR_KEY"}),
        ("awskms:///alias/images", set()),
    ],
)
def test_a_key_takes_what_it_is_opened_by(key: str, names: set[str]) -> None:
    its = settings(push=PushSettings(sign="key", key=key))
    given = {row["name"] for row in pod_of(its)["containers"][0]["env"] if "valueFrom" in row}
    assert given - {"SOURCES_TOKEN"} == names
    # Of these only a file can be mounted.
    assert ("files" in {row["name"] for row in pod_of(its)["volumes"]}) == (key == "keys/cosign.key")


@pytest.mark.parametrize("scheduler", Scheduler)
def test_nothing_is_asked_for_where_nothing_is_private(scheduler: Scheduler) -> None:
    public = settings().model_copy(update={"sources": (RepositorySource(git="git://git.example.org/a.git"),)})
    text = "".join(schedule_files(schedule(scheduler), public).values())
    for word in ("SOURCES_TOKEN", "GIT_CONFIG", "rust-builder.env", "secretKeyRef", "cosign"):
        assert word not in text


def test_stores_of_costs_and_caches_have_their_credentials() -> None:
    its = private(
        costs=CostSettings(url="postgresql://ci@db.test/costs"),
        build_cache=BuildCacheSettings.model_validate({"type": "s3", "bucket": "b", "region": "r"}),
    )
    names = {row["name"] for row in pod_of(its)["containers"][0]["env"]}
    assert {"PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= names
    # The configuration's own place would be lost to a variable.
    assert "FACTORY_COSTS_URL" not in names
    assert "FACTORY_COSTS_URL" not in only(schedule(Scheduler.GITLAB), its)["rust-builder"]["variables"]


def test_kubernetes_takes_secrets_and_files_from_secrets() -> None:
    pod = pod_of(private(registries=FILES, push=BY_KEY))
    (container,) = pod["containers"]
    secrets = {row["name"]: row["valueFrom"]["secretKeyRef"] for row in container["env"] if "valueFrom" in row}
    assert secrets["COSIGN_PASSWORD"] == {"name": "rust-builder", "key": "COSIGN_PASSWORD"}
    assert secrets["SOURCES_TOKEN"]["optional"] is True
    mounted = {row["mountPath"]: row["subPath"] for row in container["volumeMounts"] if row["name"] == "files"}
    assert mounted == {"/state/cosign.key": "file-1", "/run/secrets/filed": "file-2"}
    engine = {row["mountPath"] for row in pod["initContainers"][0]["volumeMounts"] if row["name"] == "files"}
    # It mounts the token into the container that resolves, and has no use for the key.
    assert engine == {"/run/secrets/filed"}


def test_systemd_takes_secrets_from_a_file_of_root() -> None:
    (service, _) = schedule_files(schedule(Scheduler.SYSTEMD), private(push=BY_KEY)).values()
    assert "\nEnvironmentFile=/etc/rust-builder.env\n" in service


@pytest.mark.runs_programs
def test_cron_takes_secrets_from_a_file_and_finds_programs_of_the_user(tmp_path: Path) -> None:
    its = replace(schedule(Scheduler.CRON), folder=tmp_path)
    (text,) = schedule_files(its, private()).values()
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "rust-builder.env").write_text("OURS=a-token\n")
    program = tmp_path / ".local" / "bin" / "factory"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$OURS $PWD $*"\nexit 3\n')
    program.chmod(0o755)
    command = text.splitlines()[-1].removeprefix("17 3 * * 1  ")
    done = process.run(["/bin/sh", "-c", command], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert done.stdout == f"a-token {tmp_path} --quiet rebuild --state rebuild --max-age 30 --push\n"


def test_github_has_no_secrets_of_its_own_name() -> None:
    its = private(registries=(registry("x", "token_env", "GITHUB_CRATES"),))
    with pytest.raises(ConfigurationError, match="GITHUB_CRATES: GitHub has no secrets"):
        schedule_files(schedule(Scheduler.GITHUB), its)
    assert schedule_files(schedule(Scheduler.GITLAB), its)


@pytest.mark.parametrize("scheduler", [Scheduler.GITHUB, Scheduler.GITLAB])
def test_what_only_this_machine_has_is_refused_but_on_runners_of_ones_own(scheduler: Scheduler) -> None:
    own = {Platform.LINUX_AMD64: "ours"}
    by_ssh = private(sources=(RepositorySource(git="git@git.example.org:team/a.git"),))
    for its, told in ((private(registries=FILES), "/run/secrets/filed: a job of"), (by_ssh, "nor its ssh keys")):
        with pytest.raises(ConfigurationError, match=told):
            schedule_files(schedule(scheduler), its)
        assert schedule_files(schedule(scheduler, runners=own), its)


def test_kubernetes_has_no_folder_beside_the_configuration() -> None:
    its = private(sources=(RepositorySource(path="repos/orders"),))
    assert schedule_files(schedule(Scheduler.GITHUB), its)
    with pytest.raises(ConfigurationError, match="repos/orders: a job of kubernetes"):
        schedule_files(schedule(Scheduler.KUBERNETES), its)


# Actions


def test_every_action_is_named_by_its_commit_and_each_that_is_listed_is_used() -> None:
    folder = templates()
    written = "".join(path.read_text("utf-8") for path in sorted(folder.rglob("*.jinja")))
    used = set(re.findall(r"uses: \[\[ \"([a-z/-]+)\" \| at_commit \]\]$", written, re.MULTILINE))
    assert written.count("uses:") == len(re.findall(r"uses: \[\[", written))
    assert used == set(COMMITS)
    for action in used:
        assert re.fullmatch(rf"{action}@[0-9a-f]{{40}} # v[0-9]+\.[0-9]+\.[0-9]+", at_commit(action))
    text = "".join(schedule_files(schedule(Scheduler.GITHUB), settings(push=KEYLESS)).values())
    assert f"- uses: {at_commit('actions/checkout')}\n" in text


# Signing


@pytest.mark.parametrize("scheduler", [Scheduler.KUBERNETES, Scheduler.CRON, Scheduler.SYSTEMD])
def test_what_has_no_identity_does_not_sign_without_a_key(scheduler: Scheduler) -> None:
    with pytest.raises(ConfigurationError, match=f"`push.sign` is keyless.*{scheduler} has none"):
        schedule_files(schedule(scheduler), settings(push=KEYLESS))
    assert schedule_files(schedule(scheduler), settings(push=BY_KEY))


def test_every_cosign_is_of_the_release_that_the_flags_are_of() -> None:
    assert int(COSIGN_RELEASE.removeprefix("v").partition(".")[0]) >= OLDEST_COSIGN
    document = only(schedule(Scheduler.GITHUB), settings(push=BY_KEY))
    steps = document["jobs"]["rebuild"]["steps"]
    (step,) = [step for step in steps if step.get("uses", "").startswith("sigstore/cosign-installer")]
    # Version 3 of the installer cannot install cosign 3.
    installer = at_commit("sigstore/cosign-installer").partition(" ")[0]
    assert step == {"uses": installer, "with": {"cosign-release": COSIGN_RELEASE}}
    for script in (
        "\n".join(only(schedule(Scheduler.GITLAB), settings(push=BY_KEY))["rust-builder"]["script"]),
        pod_of(settings(push=BY_KEY))["containers"][0]["args"][0],
    ):
        assert f"/cosign/releases/download/{COSIGN_RELEASE}/cosign-linux-$architecture" in script
        assert script.index("sha256sum -c") < script.index("factory --quiet rebuild")


@pytest.mark.runs_programs
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_cosign_that_is_another_is_not_run(tmp_path: Path, machine: str) -> None:
    (script, *_) = only(schedule(Scheduler.GITLAB), settings(push=BY_KEY))["rust-builder"]["script"]
    for name, does in {"uname": f"echo {machine}", "wget": 'echo "$3" >"$2"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    here = script.replace("/usr/local/bin/cosign", str(tmp_path / "cosign"))
    done = process.run(["sh", "-euc", here], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert "cosign: FAILED" in done.stdout
    assert not done.ok
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    assert (tmp_path / "cosign").read_text().strip().endswith(f"{COSIGN_RELEASE}/cosign-linux-{architecture}")
    assert not os.access(tmp_path / "cosign", os.X_OK)


@pytest.mark.parametrize("push", [KEYLESS, BY_KEY])
def test_a_job_of_gitlab_that_compiles_cannot_sign(push: PushSettings) -> None:
    document = only(schedule(Scheduler.GITLAB), of_both(push=push))
    build = document[".rust-builder"] | document["rust-builder"]
    publish = document["rust-builder-publish"]
    assert "id_tokens" not in build
    assert "cosign" not in str(build)
    assert ("id_tokens" in publish) == (push is KEYLESS)
    # A variable of this environment reaches no other job.
    assert ("environment" in publish) == (push is BY_KEY)
    assert "cosign-linux" in str(publish["script"])


# Files


def test_the_engine_of_gitlab_sees_what_is_mounted_for_it() -> None:
    job = only(schedule(Scheduler.GITLAB), settings())["rust-builder"]
    for name in ("PIPX_HOME", "PIPX_BIN_DIR", "CARGO_HOME"):
        assert job["variables"][name].startswith("$CI_BUILDS_DIR/rust-builder-$CI_JOB_ID/")
    # GitLab caches what is in the project, and that alone.
    assert job["variables"]["FACTORY_CACHE_DIR"].startswith("$CI_PROJECT_DIR/")
    # The runner's own steps would look for it before it is there.
    assert "TMPDIR" not in job["variables"]


def of_job(script: Sequence[str], builds: Path) -> str:
    """Run lines of a job for GitLab in its checkout, and return what they print."""
    variables = {
        "PATH": os.environ["PATH"],
        "CI_BUILDS_DIR": str(builds),
        "CI_PROJECT_DIR": str(builds / "org/images"),
        "CI_JOB_ID": "4711",
    }
    return process.run(["sh", "-euc", "\n".join(script)], cwd=builds / "org/images", env=variables).stdout


@pytest.mark.parametrize("name", ["rust-builder", "rust-builder-publish"])
@pytest.mark.runs_programs
def test_a_job_of_gitlab_works_in_a_repository_that_is_a_rust_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    both = name == "rust-builder-publish"
    document = only(schedule(Scheduler.GITLAB), of_both() if both else settings())
    job = document.get(".rust-builder", {}) | document[name]
    checkout = tmp_path / "org/images"
    write_new({"Cargo.toml": "[workspace]\n", ".cargo/config.toml": ""}, checkout, force=False)
    told = of_job([*job["before_script"][:2], 'echo "$TMPDIR"'], tmp_path).strip()
    monkeypatch.setattr(tempfile, "tempdir", told)
    with scratch("factory-") as folder:
        assert folder.parent == tmp_path / "rust-builder-4711/tmp"
    of_job(job["after_script"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["org"]
    assert (checkout / "Cargo.toml").exists()


@pytest.mark.parametrize("scheduler", [Scheduler.GITHUB, Scheduler.CRON, Scheduler.SYSTEMD])
def test_a_machine_keeps_its_own_temporary_folder(scheduler: Scheduler) -> None:
    """It is in no repository, as /tmp is not."""
    assert "TMPDIR" not in "".join(schedule_files(schedule(scheduler), settings()).values())


def test_the_engine_of_kubernetes_sees_what_is_mounted_for_it() -> None:
    pod = pod_of(settings())
    (container,) = pod["containers"]
    engine, job = (
        {row["mountPath"]: (row["name"], row.get("subPath")) for row in each["volumeMounts"]}
        for each in (pod["initContainers"][0], container)
    )
    variables = {row["name"]: row.get("value", "") for row in container["env"]}
    # What is resolved below the configuration's folder would see a Cargo.toml there.
    assert not f"{variables['TMPDIR']}/".startswith(f"{container['workingDir']}/")
    for name in ("TMPDIR", "PIPX_HOME", "CARGO_HOME", "FACTORY_CACHE_DIR"):
        (folder,) = [path for path in job if f"{variables[name]}/".startswith(f"{path}/")]
        assert engine[folder] == job[folder]


def test_kubernetes_logs_in_where_docker_looks_for_docker_hub() -> None:
    (text,) = schedule_files(schedule(Scheduler.KUBERNETES), settings(registry="docker.io")).values()
    assert "--docker-server=https://index.docker.io/v1/ " in text


@pytest.mark.parametrize("registry", ["ghcr.io", "docker.io"])
@pytest.mark.parametrize("scheduler", Scheduler)
def test_what_a_registry_never_deletes_is_not_pruned(scheduler: Scheduler, registry: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{registry} cannot be pruned: it deletes by"):
        schedule_files(schedule(scheduler, prune=True), settings(registry=registry))


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
    assert "factory --quiet rebuild --state rebuild --max-age 30 --push || test $? -eq 3" in text.replace(
        "$PIPX_BIN_DIR/", ""
    )
    assert ("id-token: write" in text or "id_tokens:" in text) == (sign == "keyless")
    assert ("cosign" in text) == (sign != "none")
    assert registry in text


@pytest.mark.parametrize(
    ("registry", "rights", "password"),
    [
        ("ghcr.io", {"contents": "read", "packages": "write"}, "${{ secrets.GITHUB_TOKEN }}"),
        ("registry.test", {"contents": "read"}, "${{ secrets.REGISTRY_TOKEN }}"),
    ],
)
def test_github_asks_for_the_time_and_for_no_more_rights_than_it_needs(
    registry: str, rights: dict[str, str], password: str
) -> None:
    document = only(schedule(Scheduler.GITHUB), settings(registry=registry))
    assert document["on"]["schedule"] == [{"cron": "17 3 * * 1"}]
    assert document["permissions"] == {"contents": "read"}
    assert document["jobs"]["rebuild"]["permissions"] == rights
    (login,) = [step["with"] for step in document["jobs"]["rebuild"]["steps"] if "login" in step.get("uses", "")]
    assert (login["registry"], login["password"]) == (registry, password)


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
    return settings().model_copy(update={"platforms": tuple(Platform), **changes})


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
        '--platform "$PLATFORM" rebuild --state rebuild --max-age 30 --stage || test $? -eq 3',
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
    assert "id-token" not in rebuild["permissions"]
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
    paths = write_new(texts, tmp_path, force=False)
    done = process.run(["systemd-analyze", "verify", *map(str, paths)], check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "rust-builder" in line]
    assert ours == []


def test_a_crontab_goes_to_the_folder_and_takes_nothing_to_do_for_success() -> None:
    (text,) = schedule_files(schedule(Scheduler.CRON), settings()).values()
    line = text.splitlines()[-1]
    assert line.startswith("17 3 * * 1  cd '/srv/my images' && ")
    assert line.endswith("{ factory --quiet rebuild --state rebuild --max-age 30 --push || test $? -eq 3; }")


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
        write_new(texts, tmp_path, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["rust-builder.timer"]
    assert (tmp_path / "rust-builder.timer").read_text() == "mine"
    write_new(texts, tmp_path, force=True)
    assert (tmp_path / "rust-builder.timer").read_text() == texts["rust-builder.timer"]
