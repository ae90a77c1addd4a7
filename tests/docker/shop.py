"""A repository in a registry with images made from nothing, for tests of publishing.

The images have the labels and the list of contents that `factory build` gives its own: what verifies and what builds
has tests of its own, and an image of some kilobytes goes up in no time.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from factory import process
from factory.engine import Engine
from factory.files import write_json, write_text
from factory.labels import SHARE, Label
from factory.planning.plan_file import plan_to_json
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.planning.plan import Plan
    from factory.platforms import Platform
    from tests.fault_proxy import FaultProxy

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("core", "web")
DAY = 1_795_824_000  # 2026-11-28
DATE = "20261128"
BASE = {Label.BASE_NAME: "base.test/rust:1.95.0", Label.BASE_DIGEST: f"sha256:{'ba5e' * 16}"}
"""What the images say of their base image, which this machine does not have."""
INDEX = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A repository of its own in a registry, with the environment and the folder of the commands."""

    registry: str
    name: str
    environment: Mapping[str, str]
    folder: Path

    @property
    def repository(self) -> str:
        return f"{self.registry}/{self.name}"

    def through(self, proxy: FaultProxy) -> Shop:
        """The same repository, by way of a proxy."""
        environment = {**self.environment, "FACTORY_IMAGE_REGISTRY": proxy.address}
        return replace(self, registry=proxy.address, environment=environment)

    def with_environment(self, **variables: str) -> Shop:
        return replace(self, environment={**self.environment, **variables})

    def factory(self, *args: str) -> process.Completed:
        words = [sys.executable, "-m", "factory", *args]
        return process.run(words, cwd=self.folder, env=self.environment, check=False, timeout=300)

    def build(self, content: str, *, verified: bool = True) -> Plan:
        """Make the images of both layers from nothing; `content` makes them, and their plan, what they are."""
        plan = plan_for({layer: [unit(f"{layer}-{content}", name=f"{layer}-crate")] for layer in LAYERS})
        write_json(self.folder / "plan.json", plan_to_json(plan))
        self._bake({layer: self._target(layer, content, plan, None) for layer in LAYERS})
        if verified:
            self.verify()
        return plan

    def build_for(self, platforms: Sequence[Platform], content: str) -> dict[Platform, Plan]:
        """Make the images of both layers for platforms that lie side by side; their plans differ in the compiler."""
        made = {}
        for earlier in self.folder.glob("plan-*.json"):
            earlier.unlink()
        for platform in platforms:
            plan = plan_for({layer: [unit(f"{layer}-{content}", name=f"{layer}-crate")] for layer in LAYERS})
            toolchain = replace(plan.contract.toolchain, host=platform.rust_target)
            made[platform] = replace(plan, contract=replace(plan.contract, toolchain=toolchain))
            write_json(self.folder / f"plan-{platform.file_ending}.json", plan_to_json(made[platform]))
            for layer in LAYERS:
                self.build_layer(layer, content, made[platform], platform)
                self._record(f"{self.repository}:{layer}-{platform.architecture}", layer, made[platform], ok=True)
        return made

    def build_layer(self, layer: str, content: str, plan: Plan, platform: Platform | None = None) -> None:
        """Make the image of one layer; with a platform, its tag ends in the architecture."""
        self._bake({layer: self._target(layer, content, plan, platform)})

    def _target(self, layer: str, content: str, plan: Plan, platform: Platform | None) -> dict[str, Any]:
        """Write the context of a layer's image, and return its target in a bake file."""
        context = self.folder / f"context-{layer}"
        contents = {"units": [{"crate": f"{layer}-crate", "version": "1.0.0", "features": [], "source": "registry+x"}]}
        write_json(context / "contents.json", contents)
        write_text(context / "content", content * 100)
        said = {Label.LAYER: layer, Label.PLAN: plan.layer_digest(layer), **BASE}
        labels = f"LABEL {' '.join(f'{name}={value}' for name, value in said.items())}\n"
        lines = f"FROM scratch\nCOPY contents.json {SHARE}/{layer}/contents.json\nCOPY content /content\n{labels}"
        write_text(context / "Dockerfile", lines)
        tag = f"{self.repository}:{layer}"
        target: dict[str, Any] = {"context": str(context), "output": ["type=docker"]}
        if platform is None:
            return target | {"tags": [tag]}
        return target | {"tags": [f"{tag}-{platform.architecture}"], "platforms": [str(platform)]}

    def _bake(self, targets: Mapping[str, Any]) -> None:
        """Make all images at once: each start of buildx takes longer than an image of some bytes."""
        file = self.folder / "bake.json"
        write_json(file, {"group": {"default": {"targets": list(targets)}}, "target": targets})
        process.run(["docker", "buildx", "bake", "--provenance=false", f"--allow=fs={self.folder}", "-f", file])

    def verify(self, *, ok: bool = True, day: str = DATE) -> None:
        """Leave the records that `factory verify` leaves, as nothing can be built on these images."""
        for layer in LAYERS:
            self._record(f"{self.repository}:{layer}", layer, None, ok=ok, day=day)

    def _record(self, reference: str, layer: str, plan: Plan | None, *, ok: bool, day: str = DATE) -> None:
        facts = self.engine.image(reference)
        made_from = "" if plan is None else plan.layer_digest(layer)
        record = {
            "schema": 1,
            "day": day,
            "image": {"id": facts.id, "platform": facts.platform, "layer": layer, "plan": made_from},
            "ok": ok,
            "min_hit": 0.9,
            "checks": {"owners and modes": ok},
            "repos": [],
        }
        write_json(self._record_of(facts.id), record)

    def record_of(self, reference: str) -> Path:
        """Where the record of an image is kept."""
        return self._record_of(self.engine.image(reference).id)

    def _record_of(self, identity: str) -> Path:
        return Path(self.environment["FACTORY_CACHE_DIR"]) / "proofs" / f"{identity.replace(':', '-')}.json"

    @cached_property
    def engine(self) -> Engine:
        return Engine()

    def tags(self) -> dict[str, str]:
        """The digest of each tag that moves, as far as it is there."""
        found = {}
        for layer in LAYERS:
            for tag in (layer, f"{layer}-1.95"):
                # Asked directly: to start buildx takes a hundred times as long.
                url = f"http://{self.registry}/v2/{self.name}/manifests/{tag}"
                answer = requests.head(url, headers={"Accept": INDEX}, timeout=30)
                if answer.status_code != requests.codes.not_found:
                    answer.raise_for_status()
                    found[tag] = answer.headers["Docker-Content-Digest"]
        return found

    def inspect(self, tag: str) -> dict[str, Any] | None:
        words = ["docker", "buildx", "imagetools", "inspect", f"{self.repository}:{tag}", "--format={{json .Manifest}}"]
        answer = process.run(words, check=False)
        return json.loads(answer.stdout) if answer.ok else None
