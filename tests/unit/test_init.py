"""`factory init`: what it finds in a project, and files that their own linters accept."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema  # type: ignore[import-untyped]
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from factory import process
from factory.config.layers import load_layer_profiles
from factory.config.model import BaseSettings, ContractSettings, ImageSettings, Settings, UserSettings
from factory.consumer.init import (
    Choices,
    Ci,
    CompilerCache,
    Flavour,
    LayerCache,
    Runtime,
    make_files,
)
from factory.consumer.project import Project, layer_by_anchors, read_project
from factory.errors import ConfigurationError
from factory.files import write_new
from tests.quick_samples import SAMPLES

TOOLS = Path(sys.executable).parent
EVERY_WAY = list(itertools.product(Flavour, Runtime, CompilerCache))


def choices(
    *,
    builder: str = "registry.test/org/rust-builder:web",
    flavour: Flavour = Flavour.PLAIN,
    runtime: Runtime | None = None,
    ci: Ci = Ci.NONE,
    layer_cache: LayerCache = LayerCache.REGISTRY,
    compiler_cache: CompilerCache = CompilerCache.LOCAL,
    program: str | None = None,
    build_packages: tuple[str, ...] = (),
    runtime_packages: tuple[str, ...] = (),
) -> Choices:
    return Choices(
        builder=builder,
        flavour=flavour,
        runtime=runtime,
        ci=ci,
        layer_cache=layer_cache,
        compiler_cache=compiler_cache,
        program=program,
        branch="main",
        build_packages=build_packages,
        runtime_packages=runtime_packages,
    )


def project(tmp_path: Path, manifest: str, files: tuple[str, ...] = ("src/main.rs",), lock: str = "") -> Project:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("fn main() {}\n")
    (tmp_path / "Cargo.toml").write_text(manifest)
    (tmp_path / "Cargo.lock").write_text(f"version = 4\n{lock}")
    return read_project(tmp_path)


PACKAGE = '[package]\nname = "shop"\nversion = "1.0.0"\nedition = "2021"\n'


# What is found


def test_programs_are_those_that_a_plain_build_makes(tmp_path: Path) -> None:
    manifest = f"""{PACKAGE}
[[bin]]
name = "admin"
path = "src/admin.rs"
[[bin]]
name = "extra"
path = "src/extra.rs"
required-features = ["extra"]
[features]
extra = []
"""
    files = ("src/main.rs", "src/admin.rs", "src/extra.rs", "src/bin/tool.rs", "src/bin/other/main.rs")
    assert project(tmp_path, manifest, files).programs == ("admin", "other", "shop", "tool")


def virtual_workspace(tmp_path: Path, default_members: str) -> Project:
    """Read a workspace of four programs, of which `crates/out` is listed and excluded."""
    for name in ("api", "tasks", "crates/api", "crates/out"):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "src/main.rs").write_text("fn main() {}\n")
        (tmp_path / name / "Cargo.toml").write_text(PACKAGE.replace("shop", name.replace("/", "-")))
    workspace = '[workspace]\nmembers = ["api", "tasks", "crates/*"]\nexclude = ["crates/out"]\n'
    return project(tmp_path, f"{workspace}{default_members}\n", ())


@pytest.mark.parametrize(
    ("default_members", "programs"),
    [
        ("", ("api", "crates-api", "tasks")),
        ('default-members = ["api"]', ("api",)),
        ('default-members = ["./api/"]', ("api",)),
        ('default-members = ["crates/*"]', ("crates-api",)),
        ('default-members = ["**/api", "t?sks", "crates/out"]', ("api", "crates-api", "tasks")),
    ],
)
def test_programs_of_a_virtual_workspace_are_those_of_its_default_members(
    tmp_path: Path, default_members: str, programs: tuple[str, ...]
) -> None:
    assert virtual_workspace(tmp_path, default_members).programs == programs


def test_a_default_member_that_is_no_member_is_refused_as_cargo_does(tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart/Cargo.toml").write_text(PACKAGE)
    with pytest.raises(ConfigurationError, match=r"the default member .*apart is no member"):
        virtual_workspace(tmp_path, 'default-members = ["apart"]')


def test_a_root_package_is_built_alone(tmp_path: Path) -> None:
    (tmp_path / "tasks/src").mkdir(parents=True)
    (tmp_path / "tasks/src/main.rs").write_text("fn main() {}\n")
    (tmp_path / "tasks/Cargo.toml").write_text(PACKAGE.replace("shop", "tasks"))
    assert project(tmp_path, f'{PACKAGE}\n[workspace]\nmembers = ["tasks"]\n').programs == ("shop",)


def test_the_layer_is_the_deepest_with_an_anchor_in_the_lock() -> None:
    tree = load_layer_profiles(None)
    found = {name: layer_by_anchors(read_project(SAMPLES / name), tree)[0] for name in ("greeter-cli", "notes-web")}
    assert found == {"greeter-cli": "core", "notes-web": "web"}
    layer, anchor = layer_by_anchors(read_project(SAMPLES / "ledger-db"), tree)
    assert layer == "db"
    assert anchor in tree.layer("db").anchors


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ((), "no such directory"),
        (("README.md",), "no Cargo.toml here"),
        (("deep/Cargo.toml", "deep/Cargo.lock", "deep/src/main.rs"), "below it are deep"),
        (("Cargo.toml", "src/main.rs"), "no-lockfile"),
        (("Cargo.toml", "Cargo.lock", "src/lib.rs"), "makes no program"),
    ],
)
def test_what_is_no_project_is_explained(tmp_path: Path, files: tuple[str, ...], told: str) -> None:
    folder = tmp_path / "place"
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text({"Cargo.toml": PACKAGE, "Cargo.lock": "version = 4\n"}.get(path.name, ""))
    with pytest.raises(ConfigurationError, match=told):
        read_project(folder)


def test_a_name_that_would_become_an_instruction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a name that can stand in a Dockerfile"):
        project(tmp_path, f'{PACKAGE}\n[[bin]]\nname = "a\\nRUN evil"\npath = "src/main.rs"\n')


# What is written


@pytest.mark.runs_programs
@pytest.mark.parametrize(("flavour", "runtime", "store"), EVERY_WAY)
def test_hadolint_finds_nothing_in_any_dockerfile(
    tmp_path: Path, flavour: Flavour, runtime: Runtime, store: CompilerCache
) -> None:
    made = make_files(
        read_project(SAMPLES / "ledger-db"),
        choices(flavour=flavour, runtime=runtime, compiler_cache=store, build_packages=("cmake",)),
        Settings(),
    )
    path = tmp_path / "Dockerfile"
    path.write_text(made.texts["Dockerfile"])
    found = process.run([TOOLS / "hadolint", "--no-color", path], check=False)
    assert (found.stdout, found.returncode) == ("", 0)


@pytest.mark.parametrize("cache", LayerCache)
@pytest.mark.parametrize("store", CompilerCache)
@pytest.mark.parametrize(
    ("ci", "name", "schema"),
    [
        (Ci.GITHUB, ".github/workflows/image.yml", "vendor.github-workflows"),
        (Ci.GITLAB, ".gitlab-ci.yml", "vendor.gitlab-ci"),
    ],
)
def test_workflows_are_valid_by_the_schema_of_their_platform(
    ci: Ci, name: str, schema: str, cache: LayerCache, store: CompilerCache
) -> None:
    if (ci, cache) == (Ci.GITLAB, LayerCache.GHA):
        with pytest.raises(ConfigurationError, match="GitHub's"):
            make_files(read_project(SAMPLES / "notes-web"), choices(ci=ci, layer_cache=cache), Settings())
        return
    wanted = choices(ci=ci, layer_cache=cache, compiler_cache=store, flavour=Flavour.CHEF_SCCACHE)
    private = Settings(image=ImageSettings(registry="registry.test"))
    text = make_files(read_project(SAMPLES / "notes-web"), wanted, private).texts[name]
    document = YAML(typ="safe").load(text)
    problems = [problem.message for problem in Draft7Validator(get_builtin_schema(schema)).iter_errors(document)]
    assert problems == []
    assert "registry.test" in text


def test_gitlabs_builder_stands_on_a_context() -> None:
    """Without one buildx refuses the certificates by which a job reaches its engine: docker/buildx#413."""
    made = make_files(read_project(SAMPLES / "notes-web"), choices(ci=Ci.GITLAB), Settings())
    steps = YAML(typ="safe").load(made.texts[".gitlab-ci.yml"])["publish"]["before_script"]
    (number,) = (number for number, step in enumerate(steps) if step.startswith("docker buildx create "))
    assert steps[number - 1 : number + 1] == [
        "docker context create engine",
        "docker buildx create --use --driver docker-container engine",
    ]


def test_the_registry_mount_starts_with_what_the_image_has() -> None:
    settings = Settings(
        user=UserSettings(name="builder", uid=2000, gid=3000),
        contract=ContractSettings(cargo_home="/opt/cargo", build_dir="/opt/cargo-build"),
    )
    text = make_files(read_project(SAMPLES / "greeter-cli"), choices(), settings).texts["Dockerfile"]
    (mount,) = re.findall(r"--mount=(\S+)", text)
    assert dict(part.split("=", 1) for part in mount.split(",")) == {
        "type": "cache",
        "id": "greeter-cli-registry-${TARGETARCH}",
        "target": "/opt/cargo/registry",
        "from": "warm",
        "source": "/opt/cargo/registry",
        "uid": "2000",
        "gid": "3000",
        "sharing": "locked",
    }
    # Without the argument in its stage the variable would be empty, and all platforms would share one cache.
    assert "AS builder\nARG TARGETARCH\n" in text


@pytest.mark.parametrize("flavour", [Flavour.CHEF, Flavour.CHEF_SCCACHE])
def test_chef_cooks_in_an_empty_directory_and_sources_are_newer_than_its_stand_ins(flavour: Flavour) -> None:
    text = make_files(read_project(SAMPLES / "greeter-cli"), choices(flavour=flavour), Settings()).texts["Dockerfile"]
    builder = text.split(" AS builder\n")[1].split("\nFROM ")[0]
    steps = [builder.index(part) for part in ("chef cook", "COPY --chown=1001:1001 . .", "-exec touch", "cargo build")]
    assert steps == sorted(steps)


@pytest.mark.parametrize(("suite", "image"), [("bookworm", "cc-debian12"), ("trixie", "cc-debian13"), ("sid", "slim")])
def test_the_runtime_has_the_c_library_of_the_builder(suite: str, image: str) -> None:
    settings = Settings(base=BaseSettings(suite=suite))
    made = make_files(read_project(SAMPLES / "greeter-cli"), choices(), settings)
    assert image in re.findall(r"^FROM (\S+) AS runtime$", made.texts["Dockerfile"], re.MULTILINE)[0]


def test_packages_that_distroless_images_lack_make_the_runtime_slim() -> None:
    made = make_files(read_project(SAMPLES / "ledger-db"), choices(runtime_packages=("libpq5",)), Settings())
    assert "FROM debian:bookworm-slim AS runtime" in made.texts["Dockerfile"]
    assert "ca-certificates libpq5" in made.texts["Dockerfile"]


def test_saved_queries_are_used_and_missing_ones_told(tmp_path: Path) -> None:
    lock = '[[package]]\nname = "sqlx-macros"\nversion = "0.8.6"\nsource = "registry+https://github.com/rust-lang/crates.io-index"\n'
    without = make_files(project(tmp_path, PACKAGE, lock=lock), choices(), Settings())
    assert any("cargo sqlx prepare" in remark for remark in without.remarks)
    assert "SQLX_OFFLINE" not in without.texts["Dockerfile"]
    (tmp_path / ".sqlx").mkdir()
    saved = make_files(read_project(tmp_path), choices(), Settings())
    assert "SQLX_OFFLINE=true cargo build" in saved.texts["Dockerfile"]
    assert not any("sqlx" in remark for remark in saved.remarks)


@pytest.mark.parametrize("ci", Ci)
def test_an_image_without_a_registry_is_told(tmp_path: Path, ci: Ci) -> None:
    its, local, named = project(tmp_path, PACKAGE), "org/rust-builder:core", Settings()
    (remark, *_) = make_files(its, choices(builder=local, ci=ci), Settings()).remarks
    assert remark.startswith(
        "`image.registry` is empty, so every other machine, CI's too, looks for org/rust-builder:core"
    )
    ours = Settings(image=ImageSettings(registry="ghcr.io"))
    for builder, given in ((f"ours.test/{local}", named), (f"ghcr.io/{local}", ours)):
        made = make_files(its, choices(builder=builder, ci=ci), given)
        assert not any("image.registry" in remark for remark in made.remarks)


def test_a_toolchain_pin_yields_to_the_toolchain_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "stable"\n')
    made = make_files(project(tmp_path, PACKAGE), choices(), Settings(toolchain="1.95.0"))
    assert "ENV RUSTUP_TOOLCHAIN=1.95.0" in made.texts["Dockerfile"]
    assert any("stable" in remark for remark in made.remarks)


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--bin other: no such program"):
        make_files(project(tmp_path, PACKAGE), choices(program="other"), Settings())


# Writing


def test_nothing_is_written_where_one_of_the_files_is_there(tmp_path: Path) -> None:
    made = make_files(project(tmp_path, PACKAGE), choices(ci=Ci.GITHUB), Settings())
    (tmp_path / ".dockerignore").write_text("mine\n")
    with pytest.raises(ConfigurationError, match=r"\.dockerignore: is there already"):
        write_new(made.texts, tmp_path, force=False)
    assert not (tmp_path / "Dockerfile").exists()
    assert (tmp_path / ".dockerignore").read_text() == "mine\n"
    assert len(write_new(made.texts, tmp_path, force=True)) == 3
    assert (tmp_path / ".dockerignore").read_text() == made.texts[".dockerignore"]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    made = make_files(project(tmp_path / "repo", PACKAGE), choices(), Settings())
    outside = tmp_path / "outside"
    outside.write_text("keep\n")
    (tmp_path / "repo/Dockerfile").symlink_to(outside)
    with pytest.raises(ConfigurationError, match="symbolic link"):
        write_new(made.texts, tmp_path / "repo", force=True)
    assert outside.read_text() == "keep\n"
