"""A repository in a registry with images made from nothing, for tests of publishing.

The images have the labels and the list of contents that `factory build` gives its own: what verifies and what builds
has tests of its own, and an image of some kilobytes goes up in no time.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory import process
from factory.cook.images import SHARE
from factory.engine import Engine
from factory.files import write_json, write_text
from factory.planning.plan import Plan, plan_to_json
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.platforms import Platform
    from tests.fault_proxy import FaultProxy

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("core", "web")
DAY = 1_795_824_000  # 2026-11-28
DATE = "20261128"


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
        for layer in LAYERS:
            self.build_layer(layer, content, plan)
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
        context = self.folder / f"context-{layer}"
        contents = {"units": [{"crate": f"{layer}-crate", "version": "1.0.0", "features": [], "source": "registry+x"}]}
        write_json(context / "contents.json", contents)
        write_text(context / "content", content * 100)
        labels = f'LABEL io.rust-warm-factory.layer="{layer}" io.rust-warm-factory.plan="{plan.layer_digest(layer)}"\n'
        lines = f"FROM scratch\nCOPY contents.json {SHARE}/{layer}/contents.json\nCOPY content /content\n{labels}"
        write_text(context / "Dockerfile", lines)
        tags = [f"--tag={self.repository}:{layer}"]
        if platform is not None:
            tags = [f"{tags[0]}-{platform.architecture}", f"--platform={platform}"]
        process.run(["docker", "buildx", "build", "-q", "--provenance=false", "--load", *tags, str(context)])

    def verify(self, *, ok: bool = True) -> None:
        """Leave the records that `factory verify` leaves, as nothing can be built on these images."""
        for layer in LAYERS:
            self._record(f"{self.repository}:{layer}", layer, None, ok=ok)

    def _record(self, reference: str, layer: str, plan: Plan | None, *, ok: bool) -> None:
        facts = Engine().image(reference)
        made_from = "" if plan is None else plan.layer_digest(layer)
        record = {
            "schema": 1,
            "day": DATE,
            "image": {"id": facts.id, "platform": facts.platform, "layer": layer, "plan": made_from},
            "ok": ok,
            "min_hit": 0.9,
            "checks": {"owners and modes": ok},
            "repos": [],
        }
        write_json(self.record_of(reference), record)

    def record_of(self, reference: str) -> Path:
        """Where the record of an image is kept."""
        cache = Path(self.environment["FACTORY_CACHE_DIR"])
        return cache / "proofs" / f"{Engine().image(reference).id.replace(':', '-')}.json"

    def tags(self) -> dict[str, str]:
        """The digest of each tag that moves, as far as it is there."""
        found = {}
        for layer in LAYERS:
            for tag in (layer, f"{layer}-1.95"):
                remote = self.inspect(tag)
                if remote is not None:
                    found[tag] = remote["digest"]
        return found

    def inspect(self, tag: str) -> dict[str, Any] | None:
        words = ["docker", "buildx", "imagetools", "inspect", f"{self.repository}:{tag}", "--format={{json .Manifest}}"]
        answer = process.run(words, check=False)
        return json.loads(answer.stdout) if answer.ok else None
