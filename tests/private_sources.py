"""Everything a company keeps for itself, on loopback: a registry with a token, git with a password, a crates.io mirror.

Two repositories use it: `app`, which takes from all three, and `stranded`, whose dependency wants the network.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory import process
from factory.cargo.toolchain import find_toolchain
from factory.files import write_text
from tests.docker.crates import Crate, CrateRegistry
from tests.git_server import GitServer, commit
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

REGISTRY_TOKEN = "planted-registry-token-5d1e7a"  # noqa: S105 - planted, to be looked for
GIT_TOKEN = "planted-git-token-93bc04"  # noqa: S105 - as above
SECRETS = (REGISTRY_TOKEN, GIT_TOKEN)
WITNESS = "witness.txt"
"""What a build script saw while it was cooked: a file in its OUT_DIR."""

_SECONDS = 120

_WITNESS = r"""
    use std::{env, fs, path::Path, process::Command};
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    let mut seen = format!("uid {}\n", String::from_utf8(id).unwrap().trim());
    // The jobserver's descriptors are other ones each time.
    for (name, value) in env::vars().filter(|(name, _)| !name.contains("MAKEFLAGS")) {
        seen += &format!("env {name}={value}\n");
    }
    let mut paths = vec![];
    for folder in ["/run/secrets", "/run/factory", "/tmp/factory", "/tmp/factory/tokens", "/tmp/factory/config"] {
        if let Ok(listed) = fs::read_dir(folder) {
            for entry in listed { paths.push(entry.unwrap().path().display().to_string()); }
        }
    }
    // Listed in the file system's order, and the clock and the log are begun beside cargo, earlier or later.
    paths.sort();
    paths.retain(|path| path != "/tmp/factory/clock" && path != "/tmp/factory/log");
    for path in paths { seen += &format!("path {path}\n"); }
    fs::write(Path::new(&env::var("OUT_DIR").unwrap()).join("witness.txt"), seen).unwrap();
    println!("cargo:rerun-if-changed=src/lib.rs");
"""


@dataclass(frozen=True, kw_only=True)
class PrivateSources:
    """The servers, and the folder with the two repositories."""

    registry: CrateRegistry
    mirror: CrateRegistry
    git: GitServer
    repos: Path
    first_commit: str
    """The commit of the git repository before the one that `app` has locked."""
    cargo_home: Path
    """A CARGO_HOME in which nothing is configured."""

    def configuration(self, *, access: bool = True) -> str:
        """Return a registry-config.yaml with the three sources; the tokens are in two variables."""
        named = {
            "registries": [{"name": "company", "index": self.registry.index, "token_env": "COMPANY_TOKEN"}],
            "git": [{"url": self.git.url, "username": "ci", "token_env": "GIT_TOKEN"}],
        }
        # JSON is YAML.
        return json.dumps({**(named if access else {}), "network": {"mirror": self.mirror.index}})

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables with the tokens."""
        return {"COMPANY_TOKEN": REGISTRY_TOKEN, "GIT_TOKEN": GIT_TOKEN, "CARGO_HOME": str(self.cargo_home)}


@contextlib.contextmanager
def private_sources(folder: Path) -> Iterator[PrivateSources]:
    """Serve everything until the `with` block ends."""
    for name in ("company", "mirror", "git"):
        (folder / name).mkdir(parents=True)
    with (
        CrateRegistry(folder / "company", token=REGISTRY_TOKEN) as registry,
        CrateRegistry(folder / "mirror") as mirror,
        GitServer(folder / "git") as git,
    ):
        _publish(registry, mirror)
        tools = folder / "git" / "tools"
        first = commit(tools, _tools(1))
        commit(tools, _tools(2))
        repos = _repos(folder / "repos", registry, git)
        sources = PrivateSources(
            registry=registry,
            mirror=mirror,
            git=git,
            repos=repos,
            first_commit=first,
            cargo_home=folder / "nothing-configured",
        )
        for repo in sorted(repos.iterdir()):
            _lock(repo, sources, folder / "locking")
        git.password = GIT_TOKEN
        yield sources


def _publish(registry: CrateRegistry, mirror: CrateRegistry) -> None:
    mirror.publish(Crate(name="open-leaf", source="pub fn leaf() -> u8 { 1 }"))
    mirror.publish(Crate(name="open-tester", source=""))
    registry.publish(Crate(name="inner-window", source=""))
    registry.publish(Crate(name="inner-leaf", source="pub fn leaf() -> u8 { 2 }"))
    registry.publish(
        Crate(
            name="inner-witness",
            source="pub fn witness() -> u8 { inner_leaf::leaf() }",
            build_script=_WITNESS,
            dependencies=("inner-leaf",),
        )
    )
    connect = f'std::net::TcpStream::connect("{registry.address}").expect("no network");'
    registry.publish(Crate(name="inner-caller", source="", build_script=connect))
    registry.publish(Crate(name="inner-above", source="", dependencies=("inner-caller", "inner-leaf")))


def _tools(number: int) -> dict[str, str]:
    return {
        "Cargo.toml": manifest(
            "git-tool", "[workspace]\nmembers = ['part']\n[dependencies]\ngit-part = { path = 'part' }\n"
        ),
        "src/lib.rs": f"pub fn tool() -> u8 {{ git_part::part() + {number} }}\n",
        "build.rs": 'fn main() { println!("cargo:rerun-if-changed=src/lib.rs"); }\n',
        "part/Cargo.toml": manifest("git-part"),
        "part/src/lib.rs": "pub fn part() -> u8 { 10 }\n",
    }


def _repos(folder: Path, registry: CrateRegistry, git: GitServer) -> Path:
    config = f'[registries.company]\nindex = "{registry.index}"\n'
    app = (
        "[dependencies]\nopen-leaf = '1'\ninner-witness = { version = '1', registry = 'company' }\n"
        f"git-tool = {{ git = '{git.url}/tools', branch = 'main' }}\n"
        # Locked, and never compiled: no recipe names them.
        "[dev-dependencies]\nopen-tester = '1'\n"
        "[target.'cfg(windows)'.dependencies]\ninner-window = { version = '1', registry = 'company' }\n"
    )
    main = 'fn main() { println!("{}", open_leaf::leaf() + inner_witness::witness() + git_tool::tool()); }\n'
    write_files(
        folder / "app",
        {".git/HEAD": "", ".cargo/config.toml": config, "Cargo.toml": manifest("app", app), "src/main.rs": main},
    )
    stranded = "[dependencies]\ninner-above = { version = '1', registry = 'company' }\n"
    write_files(
        folder / "stranded",
        {
            ".git/HEAD": "",
            ".cargo/config.toml": config,
            "Cargo.toml": manifest("stranded", stranded),
            "src/main.rs": "fn main() {}\n",
        },
    )
    return folder


def _lock(repo: Path, sources: PrivateSources, home: Path) -> None:
    write_text(
        home / "config.toml",
        sources.mirror.cargo_config + '[registry]\nglobal-credential-providers = ["cargo:token"]\n',
    )
    answer = find_toolchain().cargo(
        ["generate-lockfile"],
        cwd=repo,
        cargo_home=home,
        extra={"CARGO_REGISTRIES_COMPANY_TOKEN": REGISTRY_TOKEN},
        timeout=_SECONDS,
    )
    if not answer.ok:
        raise process.ProgramFailedError(answer)
