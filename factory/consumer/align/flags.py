"""RUSTFLAGS and linker in the step `profile`: as most repositories have them, in the cargo configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tomli
from tomlkit.exceptions import TOMLKitError

from factory.analysis.cfgs import cfgs_under
from factory.cargo.rustflags import joined, why_not_cookable_flags
from factory.cargo.variants import Variant
from factory.consumer.align.documents import document_of, text_of
from factory.consumer.align.model import Change
from factory.consumer.align.profile import EFFECTS
from factory.errors import ConfigurationError
from factory.scan.config_files import configuration_files
from factory.scan.source_tree import SourceTree, escaped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from factory.analysis.analyze import Resolver
    from factory.consumer.align.features import FeatureRules
    from factory.planning.baseline import BaselineProfile
    from factory.scan.cargo_config import CfgsUnder, RecordedConfig
    from factory.scan.model import FoundWorkspace

_EFFECTS: Mapping[str, str] = {
    **EFFECTS,
    "code-model": "how code and data are addressed",
    "debuginfo": EFFECTS["debug"],
    "force-frame-pointers": "whether profilers find a function's callers without debug information",
    "link-arg": "what the linker is told: without it rustc's own choice links, which may take longer",
    "link-args": "what the linker is told: without it rustc's own choice links, which may take longer",
    "relocation-model": "whether the program can be loaded anywhere in memory",
    "target-cpu": "for which processors code is: without it the program runs on more of them, and may be slower",
    "target-feature": "which instructions are used, and with `crt-static` whether the C library is part of the program",
}
_LINTS = "which lints are errors, and nothing in the program: `[lints]` says it of the workspace's own crates alone"
_LINKER = "which program links: rustc's own choice may take longer"
_CODEGEN = re.compile(r"-C([a-z-]+)(=.*)?")
_LINT = re.compile(r"-[AWDF].+|--(allow|warn|deny|forbid|cap-lints)=.+")
_OF_THE_CODE = re.compile(r"--(check-)?cfg=.+")
_BARE_LINE_END = re.compile(r"(?<!\r)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What RUSTFLAGS and linker come to.

    `files` has each cargo configuration that changes, by its path below the repository: the text before and the one to
    write, `None` for one that is not there. `recorded` is what they say then.
    """

    recorded: RecordedConfig
    changes: tuple[Change, ...] = ()
    left: tuple[Change, ...] = ()
    files: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRules:
    """The flags to meet at, for a platform `triple`; `beneath` are those that the images set."""

    common: tuple[str, ...]
    beneath: tuple[str, ...]
    triple: str
    cfgs_under: CfgsUnder


def flag_rules(resolver: Resolver, features: FeatureRules, common: BaselineProfile) -> FlagRules:
    """Return the rules for the platform of the variant that a profile of the baseline is for."""
    triple = Variant.parse(common.variant).target or features.triple
    return FlagRules(
        common=common.rustflags,
        beneath=resolver.rustflags,
        triple=triple,
        cfgs_under=cfgs_under(resolver.toolchain, triple),
    )


def settle_flags(found: FoundWorkspace, recorded: RecordedConfig, rules: FlagRules) -> Flags:
    """Return the configuration of a workspace with the common RUSTFLAGS and without a linker; nothing is written.

    All or nothing, as one flag more keeps everything cold. Flags that the code itself may be written for (`--cfg`), and
    such as nobody knows, stay: then nothing changes, and they are what is left.
    """
    mine, linker = _effective(recorded, rules)
    if mine == rules.common and linker is None:
        return Flags(recorded=recorded)
    if recorded.unread:
        names = ", ".join(map(escaped, recorded.unread))
        why = f"{recorded.including} includes {names}, not in the repository: there may be others"
        return Flags(recorded=recorded, left=(Change("RUSTFLAGS", why),))
    common = set(joined(rules.common))
    taken = [flag for flag in joined([*mine, *recorded.build_rustflags]) if flag not in common]
    left = tuple(Change(f"RUSTFLAGS {flag}", why) for flag in dict.fromkeys(taken) if (why := _why_needed(flag)))
    if left:
        return Flags(recorded=recorded, left=left)
    keys = recorded.target_keys(rules.triple, rules.cfgs_under, beneath=rules.beneath)
    settled = recorded.with_rustflags(rules.common[len(rules.beneath) :], keys)
    if _effective(settled, rules) != (rules.common, None):
        return Flags(recorded=recorded, left=(Change("RUSTFLAGS", _why_unreachable(rules)),))
    try:
        files = _files(found, settled.build_rustflags, keys)
    except ValueError as error:
        return Flags(recorded=recorded, left=(Change("RUSTFLAGS", str(error)),))
    return Flags(recorded=settled, changes=tuple(_changes(mine, rules.common, linker)), files=files)


def _effective(recorded: RecordedConfig, rules: FlagRules) -> tuple[tuple[str, ...], str | None]:
    return (
        recorded.effective_rustflags(rules.triple, rules.cfgs_under, beneath=rules.beneath),
        recorded.effective_linker(rules.triple, rules.cfgs_under, beneath=rules.beneath),
    )


def _why_unreachable(rules: FlagRules) -> str:
    flags = " ".join(rules.common)
    if rules.common[: len(rules.beneath)] != rules.beneath:
        return f"`{flags}` would have to be set beside the images' own flags"
    return f"under `{flags}` a `cfg(...)` of the configuration holds that sets others: change it by hand"


def _why_needed(flag: str) -> str:
    """Say why a flag cannot be taken away; "" where it only decides how the same code is compiled and linked."""
    if _OF_THE_CODE.fullmatch(flag):
        return "the code may be written for it: see whether it compiles without, and take it out by hand"
    if flag.startswith("-Ctarget-cpu="):
        return ""
    return "nobody here knows what it does: take it out by hand" if why_not_cookable_flags([flag]) else ""


def _changes(mine: Sequence[str], common: Sequence[str], linker: str | None) -> Iterable[Change]:
    own, others = tuple(joined(mine)), tuple(joined(common))
    for flag in dict.fromkeys(own):
        if flag not in others:
            yield Change("RUSTFLAGS", f"without {flag}: {_effect(flag)}")
    for flag in dict.fromkeys(others):
        if flag not in own:
            yield Change("RUSTFLAGS", f"with {flag}: {_effect(flag)}")
    if own != others and set(own) == set(others):
        yield Change("RUSTFLAGS", f"in the order `{' '.join(common)}`: nothing in the program")
    if linker is not None:
        yield Change("linker", f"{linker} -> rustc's own: {_LINKER}")


def _effect(flag: str) -> str:
    codegen = _CODEGEN.fullmatch(flag)
    if codegen is not None:
        return _EFFECTS.get(codegen[1], f"see `rustc -C help` for {codegen[1]}")
    return _LINTS if _LINT.fullmatch(flag) else "see `rustc --help`"


def _files(
    found: FoundWorkspace, flags: Sequence[str], keys: Collection[str]
) -> dict[str, tuple[str | None, str | None]]:
    """Return the configurations that change; raise `ValueError` for one whose form cannot be kept."""
    tree = SourceTree.of(found)
    files = tuple(configuration_files(tree, found.root))
    # A file may be one of a folder's own, and included by another one too.
    included = {file.path for file in files if file.is_included}
    texts = {file.path: tree.read_text(file.path) for file in files}
    nearest = next(iter(texts), found.root / ".cargo" / "config.toml")
    changed: dict[str, tuple[str | None, str | None]] = {}
    for path in dict.fromkeys([nearest, *texts]):
        before, shown = texts.get(path), path.relative_to(found.repo_root).as_posix()
        after = _edited(before or "", flags if path == nearest else (), keys, shown)
        if after != (before or ""):
            # An included file must stay, be it empty: cargo refuses to go on without.
            mark = "" if before is None else tree.mark(path)
            kept = mark + after if after.strip() or path in included else None
            changed[shown] = None if before is None else mark + before, kept
    return changed


def _edited(text: str, flags: Sequence[str], keys: Collection[str], shown: str) -> str:
    """Return a configuration with these flags for all platforms, and none for those of `keys`."""
    message = f"{shown}: its form cannot be kept; change `rustflags` and `linker` by hand"
    try:
        document, wanted = document_of(text, shown), tomli.loads(text)
        for content in (document, wanted):
            for key in keys:
                _remove(content, ("target", key, "rustflags"))
                _remove(content, ("target", key, "linker"))
            if flags:
                content.setdefault("build", {})["rustflags"] = list(flags)
            else:
                _remove(content, ("build", "rustflags"))
        made = text_of(document, shown)
        if "\r\n" in text:
            made = _BARE_LINE_END.sub("\r\n", made)
        if tomli.loads(made) != wanted:
            raise ValueError(message)
    except (ConfigurationError, TOMLKitError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(message) from error
    return made


def _remove(content: Any, keys: Sequence[str]) -> None:  # noqa: ANN401 - a document of tomlkit, or a dict
    """Remove a key, and the tables that have nothing in them then."""
    tables = [content]
    for key in keys[:-1]:
        if key not in tables[-1]:
            return
        tables.append(tables[-1][key])
    if keys[-1] not in tables[-1]:
        return
    del tables[-1][keys[-1]]
    for table, key in zip(reversed(tables[:-1]), reversed(keys[:-1]), strict=True):
        if table[key]:
            return
        del table[key]
