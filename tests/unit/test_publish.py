"""Publishing without a registry: tags, what its words mean, patience, records of proofs, and what is attested."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory.config.model import ImageSettings, PushSettings, Settings
from factory.engine import ImageFacts
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError
from factory.files import canonical_json, write_json
from factory.model import CRATES_IO, PackageId
from factory.output import Output
from factory.process import Completed, ProgramTimeoutError
from factory.proof.model import Check, Proof, ProvenImage, RepoProof
from factory.publish.attempts import Fault, Patience, RegistryAnswerError, fault_of, persist
from factory.publish.model import VerifiedImage
from factory.publish.provenance import provenance
from factory.publish.record import read_records, require_passed, write_record
from factory.publish.sbom import CookedCrate, bill_of_materials, package_url
from factory.publish.signing import Cosign, Identity, require_cosign, sign_commands
from factory.publish.tags import layer_push, plan_tag, stem
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from factory.publish.model import LayerPush

QUIET = Output(verbosity=-1)
STEM = "web-1.95.0"
AMD64 = VerifiedImage(
    platform="linux/amd64", reference="r:web-amd64", id="sha256:" + "a" * 64, stem=STEM, day="20261129"
)
ARM64 = VerifiedImage(
    platform="linux/arm64", reference="r:web-arm64", id="sha256:" + "b" * 64, stem=STEM, day="20261129"
)

# Tags


def push_of(tags: tuple[str, ...] = ("{layer}", "{layer}-{minor}"), **changes: Any) -> LayerPush:  # noqa: ANN401
    settings = Settings(image=ImageSettings(tags=tags))
    given: dict[str, Any] = {"cell": "", "date": "20261129", "plan": "0123abcd4567", "serial": 1} | changes
    return layer_push(given.pop("layer", "web"), [ARM64, AMD64], settings, **given)


def test_the_first_tag_names_layer_rust_day_and_plan() -> None:
    push = push_of()
    assert push.immutable == ("web-1.95.0-20261129-0123abcd4567",)
    assert push.moving == ("web", "web-1.95")
    assert [image.staged for image in push.images] == [
        "web-1.95.0-20261129-aaaaaaaaaaaa-amd64",
        "web-1.95.0-20261129-bbbbbbbbbbbb-arm64",
    ]


def test_tags_with_a_day_or_a_plan_stay_and_a_serial_number_makes_another() -> None:
    assert push_of(("{layer}", "{layer}-{date}")).immutable[1:] == ("web-20261129",)
    assert push_of(("{layer}-{plan}",)).moving == ()
    assert push_of(serial=2).immutable == ("web-1.95.0-20261129-0123abcd4567-2",)
    assert push_of(("{layer}", "{layer}-{date}"), serial=2).immutable[1:] == ("web-20261129-2",)
    assert stem("web", Settings(), cell="") == STEM
    assert push_of(cell="1.95.0-trixie").immutable == ("web-1.95.0-trixie-20261129-0123abcd4567",)


def test_a_tag_that_no_registry_takes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="longer than the 128 characters"):
        push_of(layer="w" * 100)


def test_the_plans_of_several_platforms_have_one_name_in_any_order() -> None:
    assert plan_tag(["ab" * 32]) == "ab" * 6
    assert plan_tag(["ab" * 32, "ab" * 32]) == "ab" * 6
    assert plan_tag(["ab" * 32, "cd" * 32]) == plan_tag(["cd" * 32, "ab" * 32]) != "ab" * 6


# What a registry says


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ERROR: 127.0.0.1:5000/a/b:nope: not found", Fault.ABSENT),
        ("error: manifest unknown: manifest unknown", Fault.ABSENT),
        ('failed to do request: Head "http://127.0.0.1:1/v2/": dial tcp: connect: connection refused', Fault.SILENT),
        ("failed to copy: httpReadSeeker: read: connection reset by peer", Fault.SILENT),
        ("unexpected status from PUT request to http://r/v2/a/manifests/b: 503 Service Unavailable", Fault.SILENT),
        ("dial tcp: lookup registry.example.org: no such host", Fault.SILENT),
        ("`docker push x` did not finish within 2 s", Fault.SILENT),
        ("unexpected status from HEAD request to http://r/v2/a: 429 Too Many Requests", Fault.BUSY),
        ("toomanyrequests: You have reached your pull rate limit", Fault.BUSY),
        ("unexpected status from POST request to http://r/v2/a: 401 Unauthorized", Fault.REFUSED),
        ("denied: requested access to the resource is denied", Fault.REFUSED),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", Fault.REFUSED),
        # Neither a port nor a digest is a status.
        ("127.0.0.1:50300/a@sha256:500429404 says nothing of use", Fault.UNKNOWN),
    ],
)
def test_what_a_registry_says_is_understood(text: str, fault: Fault) -> None:
    assert fault_of(text) is fault
    assert fault.passes == (fault in {Fault.SILENT, Fault.BUSY})


class Stubborn:
    """Something that fails in given ways, one after the other, and then succeeds."""

    def __init__(self, *failures: str | Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> Completed:
        self.calls += 1
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return Completed(args=("x",), returncode=1, stdout="", stderr=failure)
        return Completed(args=("x",), returncode=0, stdout="done", stderr="")


def patience(waits: list[float], **changes: Any) -> Patience:  # noqa: ANN401
    return Patience(**{"sleep": waits.append, "scatter": lambda: 1.0} | changes)


def test_what_did_not_answer_is_tried_again_with_longer_and_longer_waits() -> None:
    waits: list[float] = []
    call = Stubborn(
        "connection refused", ProgramTimeoutError("`x` did not finish within 2 s"), "503 Service Unavailable"
    )
    assert persist("asking", call, patience(waits), QUIET).stdout == "done"
    assert waits == [1, 2, 4]


def test_patience_ends_and_waits_are_bounded_and_scattered() -> None:
    waits: list[float] = []
    call = Stubborn(*["connection refused"] * 9)
    with pytest.raises(RegistryAnswerError, match="asking: it did not answer\nconnection refused") as caught:
        persist("asking", call, patience(waits, attempts=9, scatter=lambda: 0.3), QUIET)
    assert (call.calls, len(waits)) == (9, 8)
    assert waits == [pytest.approx(min(60, 2**number) * 0.65) for number in range(8)]
    assert caught.value.exit_code == 6


def test_who_asks_for_patience_gets_more() -> None:
    waits: list[float] = []
    persist("asking", Stubborn("429 Too Many Requests"), patience(waits), QUIET)
    assert waits == [4]


@pytest.mark.parametrize("text", ["401 Unauthorized", "403 Forbidden", "x: not found", "something else"])
def test_what_was_refused_is_not_asked_again(text: str) -> None:
    call = Stubborn(text)
    with pytest.raises(RegistryAnswerError):
        persist("asking", call, patience([]), QUIET)
    assert call.calls == 1


# Records of proofs

FACTS = ImageFacts(id=AMD64.id, layers=(), user="", environment={}, labels={}, size=0, platform="linux/amd64")
PROVEN = ProvenImage(id=AMD64.id, platform="linux/amd64", layer="web", plan="ab")
ROW = RepoProof(path="app", variant="release", total=10, fresh=9, misses=(), seconds=1)


def proof(*, ok: bool = True) -> Proof:
    return Proof(target="r:web", repos=(ROW,), checks=(Check(name="owners", ok=ok, detail=""),), image=PROVEN)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
def test_only_a_passed_proof_of_this_very_image_lets_it_pass() -> None:
    with pytest.raises(BadAnswerError, match="was not verified") as unknown:
        require_passed(FACTS, "r:web", {})
    assert unknown.value.advice.startswith("Run `factory verify r:web` first")
    write_record(proof(), min_hit=0.9, day="20261129", copy=None)
    require_passed(FACTS, "r:web", {})
    with pytest.raises(BadAnswerError, match="was not verified"):
        require_passed(replace(FACTS, id=ARM64.id), "r:web", {})


@pytest.mark.usefixtures("cache")
def test_the_last_verdict_counts_and_names_what_failed() -> None:
    write_record(proof(), min_hit=0.9, day="20261129", copy=None)
    write_record(proof(ok=False), min_hit=0.95, day="20261129", copy=None)
    with pytest.raises(BadAnswerError, match="did not pass its last verification: owners, app"):
        require_passed(FACTS, "r:web", {})


def test_a_record_goes_to_another_machine_as_a_file(cache: Path, tmp_path: Path) -> None:
    write_record(proof(), min_hit=0.9, day="20261129", copy=tmp_path / "proof.json")
    (kept,) = (cache / "proofs").iterdir()
    assert kept.read_bytes() == (tmp_path / "proof.json").read_bytes()
    kept.unlink()
    require_passed(FACTS, "r:web", read_records([tmp_path / "proof.json"]))
    with pytest.raises(BadAnswerError):
        require_passed(FACTS, "r:web", {})


@pytest.mark.parametrize("content", [{}, [], {"schema": 99}, {"schema": 1, "checks": []}])
def test_a_file_that_is_no_record_is_explained(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "proof.json", content)
    with pytest.raises(ConfigurationError, match=r"proof\.json: not a record"):
        read_records([tmp_path / "proof.json"])


@pytest.mark.usefixtures("cache")
def test_a_directory_leaves_no_record() -> None:
    with pytest.raises(ConfigurationError, match="a directory is not pushed"):
        write_record(replace(proof(), image=None), min_hit=0, day="20261129", copy=None)


# What is attested

SERDE = CookedCrate(
    package=PackageId("serde", "1.0.0", CRATES_IO), features=("std",), checksum="cd" * 32, licence="MIT OR Apache-2.0"
)
TOKIO = CookedCrate(package=PackageId("tokio", "1.2.3+x", CRATES_IO), features=(), checksum=None, licence="MIT")


def test_packages_have_their_urls() -> None:
    assert package_url(SERDE.package) == "pkg:cargo/serde@1.0.0"
    assert package_url(TOKIO.package) == "pkg:cargo/tokio@1.2.3%2Bx"
    other = PackageId("inner", "1.0.0", "sparse+https://crates.example.org/index/")
    assert package_url(other) == "pkg:cargo/inner@1.0.0?repository_url=https%3A%2F%2Fcrates.example.org%2Findex%2F"
    git = PackageId("part", "1.0.0", "git+https://example.org/part?branch=main#0123")
    assert package_url(git) == "pkg:cargo/part@1.0.0?vcs_url=git%2Bhttps%3A%2F%2Fexample.org%2Fpart%400123"


def test_the_bill_of_materials_says_what_is_known_and_nothing_else() -> None:
    document = bill_of_materials([SERDE, TOKIO], layer="web", rust="1.95.0", plan="p")
    serde, tokio = document["components"]
    assert serde["hashes"] == [{"alg": "SHA-256", "content": "cd" * 32}]
    assert serde["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert tokio["licenses"] == [{"license": {"id": "MIT"}}]
    assert "hashes" not in tokio
    again = bill_of_materials([SERDE, TOKIO], layer="web", rust="1.95.0", plan="p")
    assert canonical_json(document) == canonical_json(again)
    assert "timestamp" not in canonical_json(document)


def test_the_provenance_names_plan_and_base() -> None:
    plan = plan_for({"web": [unit("a")]})
    settings = Settings(image=ImageSettings(source="https://example.org/images", revision="0123"))
    document = provenance("web", {"linux/amd64": plan}, settings, bases=[("base:1", "sha256:ab"), ("other", "")])
    assert document["buildDefinition"]["resolvedDependencies"] == [
        {"name": "plan linux/amd64", "digest": {"sha256": plan.digest}},
        {"uri": "docker-image://base:1", "digest": {"sha256": "ab"}},
        {"uri": "docker-image://other"},
    ]
    assert document["buildDefinition"]["externalParameters"]["source"]["revision"] == "0123"


def test_a_key_keeps_out_of_the_public_log_and_only_loopback_is_plain() -> None:
    *attest, sign = sign_commands("127.0.0.1:5000/a@sha256:ab", "cosign.key", {"cyclonedx": Path("sbom.json")})
    assert len(attest) == 1
    assert {"--key=cosign.key", "--tlog-upload=false", "--allow-http-registry"} <= set(sign)
    (keyless,) = sign_commands("ghcr.io/a@sha256:ab", None, {})
    assert keyless == ("cosign", "sign", "--yes", "ghcr.io/a@sha256:ab")


def install_cosign(folder: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a cosign on the PATH that says `said` of its version, and knows the flags of cosign 2.4."""
    program = folder / "cosign"
    program.write_text(f"""#!/bin/sh\nif test "$1" = version; then echo '{said}'; else echo "--key=''"; fi\n""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.runs_programs
@pytest.mark.parametrize("said", ['{"gitVersion": "v3.0.6"}', '{"gitVersion": "3.1.1"}', '{"gitVersion": "v10.0.0"}'])
def test_a_cosign_of_the_third_release_or_later_is_taken(
    tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cosign(tmp_path, said, monkeypatch)
    require_cosign()


@pytest.mark.runs_programs
@pytest.mark.parametrize("said", ['{"gitVersion": "v2.6.1"}', '{"gitVersion": "devel"}', "no version"])
def test_a_cosign_that_lacks_the_flags_is_told_before_anything_is_pushed(
    tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cosign(tmp_path, said, monkeypatch)
    with pytest.raises(EnvironmentFaultError, match=r"cosign .*is too old") as caught:
        Cosign(patience=Patience(attempts=1), output=QUIET)
    assert "Install cosign 3" in caught.value.advice


@pytest.mark.parametrize("who", [{}, {"identity": "x"}, {"issuer": "x"}, {"key": "k", "identity": "x", "issuer": "y"}])
def test_a_signature_is_somebodys(who: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="whose signature"):
        Identity(**who)


def test_signing_by_key_needs_one() -> None:
    with pytest.raises(ValueError, match=r"is needed for push\.sign: key"):
        PushSettings(sign="key")
    assert PushSettings(sign="key", key="awskms:///alias/x").key
