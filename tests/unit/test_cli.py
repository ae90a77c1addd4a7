"""The commands: help for each, answers on stdout and all else on stderr, and the exit code of every kind of error."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from typer.core import TyperGroup

from factory import __version__, cli, process
from factory.analysis.model import analysis_to_json
from factory.cargo.toolchain import INSTALL_ADVICE
from factory.cli.commands import SECTIONS
from factory.errors import (
    BadAnswerError,
    BuildFailedError,
    ConfigurationError,
    EnvironmentFaultError,
    FactoryError,
    NothingToDoError,
    RegistryFaultError,
)
from factory.files import CACHEDIR_TAG, write_json
from factory.pipeline import analyzing, planning, proving, stacks
from factory.planning.plan_file import plan_to_json
from factory.program_variables import ProgramVariable
from factory.proof.model import Check, Proof, RepoProof
from tests.unit.builders import organisation, plan_for, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from factory.planning.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
EXIT_CODES = (
    (BadAnswerError, 1),
    (ConfigurationError, 2),
    (NothingToDoError, 3),
    (EnvironmentFaultError, 4),
    (BuildFailedError, 5),
    (RegistryFaultError, 6),
    (FactoryError, 70),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call of the program gave."""

    code: int
    out: str
    err: str


Call = Any
"""`call(*words) -> Answer`."""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Call]:
    """Run `factory WORDS` in an empty directory, in this process."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # The tests may run under nohup themselves.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["factory", *map(str, words)])
        code = cli.main()
        return Answer(code, *capsys.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    process.begin()


def commands() -> dict[tuple[str, ...], Any]:
    """Every command and group by its words."""

    def below(words: tuple[str, ...], command: Any) -> dict[tuple[str, ...], Any]:  # noqa: ANN401 - typer's own Click
        found = {words: command}
        if isinstance(command, TyperGroup):
            context = command.context_class(command)
            for name in command.list_commands(context):
                found |= below((*words, name), command.get_command(context, name))
        return found

    return below((), typer.main.get_command(cli.app))


COMMANDS = commands()
LEAVES = [words for words, command in COMMANDS.items() if not isinstance(command, TyperGroup)]


# Help


def test_these_are_the_commands() -> None:
    assert [" ".join(words) for words in LEAVES] == [
        "analyze",
        "plan",
        "layers",
        "build",
        "verify",
        "base",
        "push",
        "rebuild",
        "prune",
        "schedule",
        "check",
        "align",
        "recommend",
        "init",
        "report",
        "demo",
        "config init",
        "config show",
        "config schema",
        "cache dir",
        "cache clean",
        "costs show",
        "costs export",
        "costs import",
        "costs path",
        "costs check",
    ]


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(call: Call, words: tuple[str, ...], flag: str) -> None:
    answer = call(*words, flag)
    assert (answer.code, answer.err) == (0, "")
    assert " ".join(["Usage: factory", *words]) in answer.out
    assert "None" not in answer.out


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_the_help_of_every_command_has_an_example_that_parses(words: tuple[str, ...]) -> None:
    help_text = COMMANDS[words].help
    assert help_text.splitlines()[0].endswith(".")
    (example,) = [line.strip() for line in help_text.splitlines() if "Example:" in line]
    # A longer one would be folded at 80 columns.
    assert len(example) <= 78
    given = example.partition("factory ")[2].partition(">")[0].rstrip('")').split()
    assert given[: len(words)] == list(words)
    COMMANDS[words].make_context("factory", given[len(words) :])


@pytest.mark.parametrize("scheduler", ["github", "gitlab", "kubernetes"])
def test_a_schedule_whose_job_installs_factory_takes_a_package(call: Call, tmp_path: Path, scheduler: str) -> None:
    answer = call("schedule", scheduler)
    assert answer.code == 2
    assert "--package is missing" in answer.err
    assert "git+https://HOST/REPO.git@TAG" in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_option_says_what_it_is_for(words: tuple[str, ...]) -> None:
    for parameter in COMMANDS[words].params:
        assert (getattr(parameter, "help", "") or "").endswith(".") or "(" in parameter.help, parameter.name


def test_every_variable_of_an_option_is_known() -> None:
    named = {
        variable
        for command in COMMANDS.values()
        for parameter in command.params
        for variable in ([parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or ())
    }
    assert {name for name in named if name.startswith("FACTORY_")} <= set(ProgramVariable)
    assert "FACTORY_REPORT_AS" in named


def test_an_option_of_several_commands_takes_one_variable() -> None:
    taken: dict[str, set[str]] = {}
    for words in LEAVES:
        for parameter in COMMANDS[words].params:
            if not getattr(parameter, "is_flag", False):
                for name in parameter.opts:
                    taken.setdefault(name, set()).add(str(parameter.envvar))
    assert {name: sorted(of) for name, of in taken.items() if len(of) > 1} == {}


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_the_documentation_has_every_command(words: tuple[str, ...]) -> None:
    assert " ".join(["`factory", *words]) in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_the_documentation_has_every_exit_code() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    ours = {0, cli.EXIT_OUR_BUG, min(cli.EXIT_INTERRUPTED)} | {kind.exit_code for kind, _ in EXIT_CODES}
    assert {int(code) for code in re.findall(r"^\| ([0-9]+)\b", text, re.MULTILINE)} >= ours


def test_the_list_of_commands_has_the_first_line_of_each_ones_help_uncut(call: Call) -> None:
    firsts = {words[0]: command.help.splitlines()[0] for words, command in COMMANDS.items() if len(words) == 1}
    headings = [f"{heading}:" for heading in SECTIONS]
    listed = [line for line in call("-h").out.partition(f"\n{headings[0]}\n")[2].splitlines() if line]
    assert [line for line in listed if line in headings] == headings[1:]
    rows = [line for line in listed if line not in headings]
    assert [tuple(line.split(maxsplit=1)) for line in rows] == list(firsts.items())
    assert {line.index(what) for line, what in zip(rows, firsts.values(), strict=True)} == {len("  recommend  ")}


@pytest.mark.runs_programs
def test_help_and_a_command_wait_for_no_other_command(tmp_path: Path) -> None:
    ask = "import sys; from factory.cli import main; main(); print(*sys.modules)"
    for words, own in ((["--help"], set()), (["cache", "dir"], {"cache"})):
        said = process.run(
            [sys.executable, "-c", ask, *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        loaded = {name.removeprefix("factory.cli.") for name in said.stdout.splitlines()[-1].split()}
        assert loaded & cli.COMMANDS.keys() == own
        # The configuration's models take as long as everything else that help needs.
        assert "factory.config.model" not in loaded


def test_the_version_is_an_answer(call: Call) -> None:
    assert call("--version") == Answer(0, f"factory {__version__}\n", "")


# Usage


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["anlyze"], "no such command 'anlyze'. Did you mean 'analyze'?"),
        (
            ["nothing"],
            "no such command 'nothing'\nUsage: factory [OPTIONS] COMMAND [ARGS]...\nCommands: analyze, plan, ",
        ),
        (["cache", "nothing"], "Commands: dir, clean."),
        (["config", "shwo"], "Did you mean 'show'?"),
        (["analyze", "--ofline"], "--offline"),
        (["plan", "unexpected"], "unexpected"),
        (["verify"], "target"),
        (["verify", "image", "--min-hit", "2"], "--min-hit"),
        (["build", "--backend", "podman"], "docker"),
        (["analyze", "--top", "-1"], "--top"),
        (["analyze", "--top", "many"], "--top"),
        (["--nothing"], "no such option: --nothing"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_right(call: Call, words: list[str], told: str) -> None:
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert told in answer.err
    assert "\nUsage: factory" in answer.err
    assert "Value error" not in answer.err


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["analyze", "-q"], "factory -q analyze"),
        (["analyze", ".", "-v"], "factory -v analyze"),
        (["config", "show", "--config", "a.yaml"], "factory --config … config show"),
        (["rebuild", "--platform=linux/arm64"], "factory --platform … rebuild"),
        (["plan", "--cell", "a"], "factory --cell … plan"),
    ],
)
def test_an_option_of_the_program_stands_before_the_command(call: Call, words: list[str], right: str) -> None:
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    assert re.fullmatch(r"error: no such option: \S+\n.*\n", answer.err)
    assert answer.err.endswith(f"\nIt stands before the command: `{right}`.\n")


@pytest.mark.parametrize(("words", "heading"), [([], "Make images"), (["config"], "Commands"), (["cache"], "Commands")])
def test_without_a_command_the_help_is_shown(call: Call, words: list[str], heading: str) -> None:
    answer = call(*words)
    assert answer.code == 2
    assert f"\n{heading}:\n" in answer.out + answer.err


# Errors that users meet


def test_without_paths_and_sources_there_is_nothing_to_analyze(call: Call) -> None:
    answer = call("analyze")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: no repositories named\nName PATHs, or list `sources` in registry-config.yaml.\n"


def test_a_path_that_does_not_exist_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("nowhere", "file"):
        answer = call("analyze", path)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == f"error: {path}: no such directory\nName directories or git URLs.\n"


def test_sources_of_the_configuration_stand_beside_it(call: Call, tmp_path: Path) -> None:
    (tmp_path / "company").mkdir()
    (tmp_path / "company" / "registry-config.yaml").write_text("sources:\n  - path: nowhere\n")
    answer = call("--config", "company/registry-config.yaml", "analyze")
    assert answer.code == 2
    assert f"{Path('company', 'nowhere')}: no such directory" in answer.err


@pytest.mark.parametrize("words", [["analyze"], ["rebuild", "--backend", "local", "--output", "warm"]])
def test_a_folder_without_rust_is_no_success(call: Call, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    answer = call(*words, "empty")
    assert (answer.code, answer.out) == (1, "")
    assert "error: no Cargo.toml below these paths" in answer.err


def test_an_analysis_in_which_nothing_resolves_is_no_success(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = replace(organisation(), workspaces=())
    monkeypatch.setattr(analyzing, "scan", lambda *_args: None)
    monkeypatch.setattr(analyzing, "analyze", lambda *_args, **_options: nothing)
    answer = call("--quiet", "analyze", ".")
    assert answer.code == 1
    assert answer.err.startswith("error: no workspace could be resolved, so nothing was written\n")
    assert not Path("analysis.json").exists()


@pytest.mark.parametrize(
    ("words", "file", "made_by"),
    [(["plan"], "analysis.json", "factory analyze"), (["build"], "plan.json", "factory plan")],
)
class TestFilesBetweenStages:
    def test_a_missing_file_names_the_command_that_makes_it(
        self, call: Call, words: list[str], file: str, made_by: str
    ) -> None:
        more = "; with --default where there are no repositories yet" if made_by == "factory plan" else ""
        assert call(*words) == Answer(2, "", f"error: {file}: no such file\nRun `{made_by}` first{more}.\n")

    @pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"{} {}", b"[" * 100_000], ids=range(5))
    def test_a_broken_file_is_no_crash(
        self, call: Call, words: list[str], file: str, made_by: str, content: bytes
    ) -> None:
        Path(file).write_bytes(content)
        answer = call(*words)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(f"error: {file}: not valid JSON: ")
        assert f"Run `{made_by}` again." in answer.err

    @pytest.mark.parametrize("content", ["{}", "[]", "null", '{"schema": 99}', '{"schema": 1}'])
    def test_another_schema_is_no_crash(
        self, call: Call, words: list[str], file: str, made_by: str, content: str
    ) -> None:
        Path(file).write_text(content)
        answer = call(*words)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(f"error: {file}: not a")
        assert "that this version of factory reads: " in answer.err
        assert "Error(" not in answer.err, "how Python writes an exception says nothing to a user"
        assert answer.err.endswith(f"Run `{made_by}` again.\n")

    def test_a_directory_in_its_place_is_no_crash(self, call: Call, words: list[str], file: str, made_by: str) -> None:
        Path(file).mkdir()
        answer = call(*words)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(f"error: {file}: Is a directory\n")
        assert made_by in answer.err


@pytest.mark.parametrize("command", ["plan", "layers"])
def test_an_analysis_without_units_is_no_success(call: Call, command: str) -> None:
    write_json(Path("analysis.json"), {**analysis_to_json(organisation()), "units": {}, "workspaces": []})
    answer = call(command)
    assert (answer.code, answer.out) == (1, "")
    assert "error: the analysis holds no registry unit" in answer.err


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    write_json(tmp_path / "plan.json", plan_to_json(plan_for({"core": [unit("a")]})))
    return tmp_path / "plan.json"


@pytest.mark.usefixtures("plan_file")
def test_the_local_backend_needs_a_directory_and_docker_takes_none(call: Call) -> None:
    local = call("build", "--backend", "local")
    assert local == Answer(2, "", "error: the local backend needs --output DIR\nName a new or an empty directory.\n")
    docker = call("build", "--output", "warm")
    assert (docker.code, docker.out) == (2, "")
    assert "--output is for --backend local" in docker.err


def test_the_plan_may_come_from_the_environment(call: Call, plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_file.rename(plan_file.with_name("other.json"))
    monkeypatch.setenv("FACTORY_PLAN", "other.json")
    assert call("build", "--backend", "local", "--output", "warm", "--dry-run").code == 0


def test_a_matrix_has_a_plan_for_each_row_and_json_is_for_one(call: Call, plan_file: Path) -> None:
    Path("registry-config.yaml").write_text("matrix: [{}, {toolchain: '1.97.1', image: base:1}]\n")
    for name in ("1.95.0-bookworm", "1.97.1-bookworm"):
        plan_file.with_stem(f"plan-{name}").write_bytes(plan_file.read_bytes())
    words = ("build", "--backend", "local", "--output", "warm", "--dry-run")
    several = call(*words)
    assert (several.code, several.out) == (2, "")
    assert "--output is for one cell, and the matrix has 2" in several.err
    assert "1.95.0-bookworm, 1.97.1-bookworm" in several.err
    one = call("--cell", "1.97.1-bookworm", *words)
    assert (one.code, one.err) == (0, "")
    plan_file.with_stem("plan-1.97.1-bookworm").unlink()
    assert "plan-1.97.1-bookworm.json: no such file" in call("--cell", "1.97.1-bookworm", *words).err


def test_a_mistake_in_the_configuration_is_told_with_its_line(call: Call) -> None:
    Path("registry-config.yaml").write_text("toolchian: '1.95.0'\n")
    answer = call("config", "show")
    assert (answer.code, answer.out) == (2, "")
    assert "registry-config.yaml:1:1: toolchian: " in answer.err
    assert "did you mean toolchain?" in answer.err


def test_an_odd_variant_is_refused_before_anything_is_built(call: Call) -> None:
    answer = call("verify", "image:tag", "--variant", "bench:release:x")
    assert (answer.code, answer.out) == (2, "")
    assert "bench:release:x" in answer.err


SIGNATURES = "error: --key, --identity and --issuer are for signatures\nAdd --signature.\n"
SECOND_BUILDS = (
    "error: --flavour, --beside, --base and --bump are for second builds\nName the project: --second-build PATH.\n"
)
SIGNATURE_ALONE = (
    "error: --signature goes with --key, --identity, --issuer and --json only\nVerify the rest by itself.\n"
)
SECOND_BUILD_ALONE = (
    "error: --second-build goes with --flavour, --beside, --base, --bump and --json only\nVerify the rest by itself.\n"
)
OF_BUILDS = (
    ["--repo=app"],
    ["--min-hit=0.5"],
    ["--skeleton"],
    ["--cold"],
    ["--reproducible"],
    ["--record=proof.json"],
)
OF_SECOND_BUILDS = (["--flavour=plain"], ["--beside=cold"], ["--base=rust"], ["--bump=a@1.0.0"])
OF_SIGNATURES = (["--key=k"], ["--identity=i"], ["--issuer=u"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        *((["--signature", *words], SIGNATURE_ALONE) for words in (*OF_BUILDS, *OF_SECOND_BUILDS)),
        (["--signature", "--second-build=app"], SIGNATURE_ALONE),
        *((["--second-build=app", *words], SECOND_BUILD_ALONE) for words in OF_BUILDS),
        *((["--second-build=app", *words], SIGNATURES) for words in OF_SIGNATURES),
        *((words, SIGNATURES) for words in OF_SIGNATURES),
        *((words, SECOND_BUILDS) for words in OF_SECOND_BUILDS),
        (["--second-build=app", "--cold", "--key=k"], SIGNATURES),
        (["--signature", "--min-hit=0", "--plan=p"], "error: whose signature is it to be?\n"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_verify_does_one_thing_at_a_time(call: Call, words: list[str], said: str) -> None:
    answer = call("verify", "image:tag", *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(said)


def test_repositories_that_cannot_be_built_are_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "1.0.0"\n')
    answer = call("verify", ".", "--repo", "app")
    assert (answer.code, answer.out) == (2, "")
    assert "warning: app: no-lockfile" in answer.err


# Every kind of error has its exit code


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("kind", "code"), EXIT_CODES)
def test_each_error_has_its_exit_code(
    call: Call, monkeypatch: pytest.MonkeyPatch, kind: type[FactoryError], code: int
) -> None:
    monkeypatch.setattr(analyzing, "scan", failing(kind("what [happened]", advice="what to do")))
    said = "" if kind is NothingToDoError else "error: "
    assert call("analyze", ".") == Answer(code, "", f"{said}what [happened]\nwhat to do\n")


@pytest.mark.parametrize("environ", [{}, {"GITHUB_ACTIONS": "true"}], ids=["", "github"])
@pytest.mark.parametrize(("words", "said"), [((), "nothing to [do]\nsee there\n"), (("--quiet",), "")])
def test_nothing_to_do_is_no_error(
    call: Call, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(analyzing, "scan", failing(NothingToDoError("nothing to [do]", advice="see there")))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert call(*words, "analyze", ".") == Answer(3, "", said)


@pytest.mark.parametrize("error", [RuntimeError("odd"), KeyError("odd"), OSError("odd"), RecursionError("odd")])
def test_anything_else_is_our_bug(call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(analyzing, "scan", failing(error))
    answer = call("analyze", ".")
    assert (answer.code, answer.out) == (70, "")
    assert answer.err == (
        f"error: {type(error).__name__}: {error}\nThis is a bug in factory. FACTORY_DEBUG=1 shows where it happened.\n"
    )


def test_a_full_disk_under_the_answer_is_no_bug_of_ours(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """`factory check . >/dev/full`, without the noise of Python's own flush at its end."""
    monkeypatch.setattr(analyzing, "scan", failing(OSError(errno.ENOSPC, "No space left on device")))
    answer = call("analyze", ".")
    assert answer.code == 4
    assert answer.err == (
        "error: No space left on device\nMake room where the answer is written to, and run the command again.\n"
    )


@pytest.mark.parametrize("error", [RuntimeError("odd"), ConfigurationError("odd")])
def test_debug_shows_where_it_happened(call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(analyzing, "scan", failing(error))
    monkeypatch.setenv("FACTORY_DEBUG", "1")
    answer = call("analyze", ".")
    assert answer.out == ""
    assert "Traceback" in answer.err
    assert "in fail" in answer.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_with_its_exit_code_and_no_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setattr(analyzing, "scan", lambda *_args: signal.raise_signal(number))
    answer = call("analyze", ".")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err == "error: interrupted: finished stages are kept, unfinished files were not written\n"


def test_under_nohup_a_terminal_that_goes_away_ends_nothing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(*_args: object) -> None:
        signal.raise_signal(signal.SIGHUP)
        raise BadAnswerError("it went on")

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(analyzing, "scan", scan)
    answer = call("analyze", ".")
    assert (answer.code, "it went on" in answer.err) == (1, True)


@pytest.mark.parametrize(("min_hit", "code"), [("0.0", 0), ("0.6", 1)])
def test_a_proof_that_fails_exits_with_1_and_its_answer(
    call: Call, monkeypatch: pytest.MonkeyPatch, min_hit: str, code: int
) -> None:
    repo = RepoProof(path="r", variant="release", total=2, fresh=1, misses=(), seconds=1.0)
    monkeypatch.setattr(proving, "verify", lambda *_args, **_options: Proof(target="t", repos=(repo,), checks=()))
    answer = call("verify", "t", "--min-hit", min_hit, "--json")
    assert answer.code == code
    assert json.loads(answer.out)["ok"] is (code == 0)
    assert ("error: t does not pass" in answer.err) == (code == 1)


# Answers


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages without cargo: their results are made up, what the commands do with them is real."""
    monkeypatch.setattr(analyzing, "analyze", lambda *_args, **_options: organisation())
    monkeypatch.setattr(planning, "plan", lambda *_args, **_options: plan_for({"core": [unit("a")], "web": []}))
    held = Check(name="owners and modes", ok=True, detail="fine")
    monkeypatch.setattr(proving, "verify", lambda *_args, **_options: Proof(target="t", repos=(), checks=(held,)))


@pytest.mark.usefixtures("stages")
@pytest.mark.parametrize("quiet", [(), ("--quiet",), ("-v",)])
@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["config", "schema"], "properties"),
        (["analyze", ".", "--json"], "workspaces"),
        (["plan", "--json"], "forecast"),
        (["verify", "t", "--json"], "repos"),
    ],
)
def test_json_is_all_there_is_on_stdout(call: Call, quiet: tuple[str, ...], words: list[str], key: str) -> None:
    write_json(Path("analysis.json"), analysis_to_json(organisation()))
    answer = call(*quiet, *words)
    assert answer.code == 0
    assert key in json.loads(answer.out)
    assert answer.err == "" or quiet != ("--quiet",)


def test_the_configuration_is_json_too(call: Call) -> None:
    answer = call("config", "show", "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = json.loads(answer.out)
    assert {tuple(row) for row in rows} == {("key", "source", "value")}
    assert "toolchain" in {row["key"] for row in rows}


@pytest.mark.usefixtures("stages")
def test_what_is_written_is_what_is_printed(call: Call) -> None:
    printed = call("analyze", ".", "--out", "a.json", "--json")
    assert printed.out == Path("a.json").read_text(encoding="utf-8")
    assert printed.err == "wrote a.json\n"
    printed = call("plan", "--analysis", "a.json", "-o", "deep/p.json", "--json")
    assert printed.out == Path("deep/p.json").read_text(encoding="utf-8")
    assert printed.err == f"wrote {Path('deep', 'p.json')}\n"


@pytest.mark.usefixtures("stages")
def test_tables_are_the_answer_without_json(call: Call) -> None:
    analyzed = call("--quiet", "analyze", ".")
    assert (analyzed.code, analyzed.err) == (0, "")
    assert "Crates by repositories" in analyzed.out
    planned = call("--quiet", "plan")
    assert (planned.code, planned.err) == (0, "")
    assert "Forecast" in planned.out
    verified = call("--quiet", "verify", "t")
    assert (verified.code, verified.err) == (0, "")
    assert "Checks of t" in verified.out


@pytest.mark.parametrize(("words", "agreed"), [((), True), (("--default",), False)])
def test_stacks_have_nothing_to_agree_on(
    call: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], agreed: bool
) -> None:
    asked: list[object] = []

    def plan(*_args: object, **options: object) -> Plan:
        asked.append(options["agreed"])
        return plan_for({"core": [unit("a")]})

    monkeypatch.setattr(planning, "plan", plan)
    monkeypatch.setattr(stacks, "analyze_stacks", lambda _run: organisation())
    write_json(Path("analysis.json"), analysis_to_json(organisation()))
    assert call("plan", *words).code == 0
    assert asked == [agreed]


@pytest.mark.usefixtures("stages")
def test_where_the_answer_cannot_be_written_is_told(call: Call) -> None:
    Path("file").touch()
    answer = call("analyze", ".", "--out", "file/analysis.json")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: file/analysis.json: cannot be written: ")


# A configuration to begin with


def test_a_configuration_to_edit_is_written_and_never_overwritten_unasked(call: Call) -> None:
    assert call("config", "init").code == 0
    assert Path("registry-config.yaml").read_bytes() == (ROOT / "registry-config.yaml").read_bytes()
    assert not Path("profiles").exists()
    Path("registry-config.yaml").write_text("user: {uid: 7}\n")
    again = call("config", "init", "--profiles")
    assert again == Answer(
        2, "", "error: registry-config.yaml: is there already\nRemove it, or overwrite it with `--force`.\n"
    )
    assert not Path("profiles").exists()
    assert call("config", "init", "--force").code == 0
    assert Path("registry-config.yaml").read_bytes() == (ROOT / "registry-config.yaml").read_bytes()


def test_a_configuration_to_edit_says_what_to_set(call: Call) -> None:
    answer = call("config", "init", "new", "--profiles")
    assert (answer.code, answer.out) == (0, "")
    assert [line for line in answer.err.splitlines() if line.startswith("wrote ")] == [
        f"wrote new/{name}"
        for name in ("registry-config.yaml", "profiles/core.toml", "profiles/db.toml", "profiles/web.toml")
    ]
    for told in ("image.registry", "image.name", "sources", "FACTORY_PROFILES=new/profiles"):
        assert told in answer.err
    assert call("--config", "new/registry-config.yaml", "config", "show", "--json").code == 0
    assert Path("new/profiles/web.toml").read_bytes() == (ROOT / "profiles" / "web.toml").read_bytes()


# Layers for groups of repositories


@pytest.fixture
def analysis_file(tmp_path: Path) -> Path:
    write_json(tmp_path / "analysis.json", analysis_to_json(organisation()))
    return tmp_path / "analysis.json"


@pytest.mark.usefixtures("analysis_file")
def test_numbers_of_groups_are_compared(call: Call) -> None:
    answer = call("--quiet", "layers")
    assert answer.code == 0
    # The analysis is made up, so nobody has its crates.
    assert answer.err.startswith("warning: the sources of 6 crates were not among cargo's downloads")
    assert answer.err.count("\n") == 1
    rows = [line.split() for line in answer.out.splitlines()]
    assert [row[:2] for row in rows if len(row) == 7] == [["-", "3"], ["3", "6"]]
    assert [row["groups"] for row in json.loads(call("--quiet", "layers", "--json").out)["proposals"]] == [0, 3]


@pytest.mark.usefixtures("analysis_file")
def test_the_profiles_of_groups_are_written_beside_those_that_are_there(call: Call) -> None:
    answer = call("layers", "--groups", "3", "--out", "profiles")
    assert answer.code == 0, answer.err
    assert "core-1" in answer.out
    written = sorted(file.name for file in Path("profiles").iterdir())
    assert written == ["core-1.toml", "core.toml", "db-1.toml", "db.toml", "web-1.toml", "web.toml"]
    assert Path("profiles/web.toml").read_bytes() == (ROOT / "profiles" / "web.toml").read_bytes()
    again = call("layers", "--groups", "3", "--out", "profiles")
    assert (again.code, again.out) == (2, "")
    assert "profiles is there already" in again.err
    nobody = call("layers", "--profiles", "profiles", "--groups", "1")
    assert (nobody.code, nobody.out) == (2, "")
    assert "no repository is left to group" in nobody.err


@pytest.mark.usefixtures("analysis_file")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--groups", "2"), "too few groups: 2"),
        (("--groups", "4"), "too many groups: 4. Of the repositories, 3 have"),
        (("--out", "profiles"), "--out needs --groups"),
    ],
)
def test_groups_that_cannot_be(call: Call, words: tuple[str, ...], told: str) -> None:
    answer = call("layers", *words)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err


# The cache


def test_the_cache_is_made_named_and_removed(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(cache))
    assert call("cache", "dir") == Answer(0, f"{cache}\n", "")
    assert (cache / "CACHEDIR.TAG").read_text(encoding="utf-8") == CACHEDIR_TAG
    assert call("cache", "clean") == Answer(0, "", f"removed {cache}\n")
    assert not cache.exists()


def test_a_directory_that_is_no_cache_is_not_removed(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path))
    (tmp_path / "thesis.txt").touch()
    answer = call("cache", "clean")
    assert (answer.code, answer.out) == (2, "")
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("check", "."), "plan"),
        (("align", "."), "plan"),
        (("recommend", "."), "plan"),
        (("report",), "analysis"),
        (("plan",), "analysis"),
        (("layers",), "analysis"),
        (("build",), "plan"),
    ],
)
def test_with_several_platforms_every_command_reads_the_files_of_its_platform(
    call: Call, tmp_path: Path, words: tuple[str, ...], file: str
) -> None:
    (tmp_path / "registry-config.yaml").write_text("platforms: [linux/amd64, linux/arm64]\n")
    answer = call("--platform", "linux/arm64", *words)
    assert (answer.code, f"{file}-linux-arm64.json: no such file" in answer.err) == (2, True), answer.err


def test_costs_that_are_not_there_are_told_without_python(call: Call) -> None:
    answer = call("costs", "import", "nowhere.jsonl")
    assert answer.code == 2
    assert answer.err.startswith("error: nowhere.jsonl: cannot be read: No such file or directory\n")


def test_a_compiler_that_is_not_here_can_be_installed_where_no_engine_is(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "nowhere://")
    write_json(Path("plan.json"), plan_to_json(plan_for({"core": [unit("a")]})))
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/Cargo.toml").write_text('[package]\nname = "a"\nversion = "0.1.0"\n')
    answer = call("check", "repo")
    assert answer.code == 4
    assert "error: `cargo` was not found on PATH, and rust:" in answer.err
    assert f"\n{INSTALL_ADVICE}\n" in answer.err
