"""The step `profile` in a copy of a workspace: the cargo profile in its manifest, RUSTFLAGS in its configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.consumer.align.flags import flag_rules, settle_flags
from factory.consumer.align.profile import profile_changes, with_profile

if TYPE_CHECKING:
    from factory.analysis.model import VariantUse
    from factory.consumer.align.copy import WorkingCopy
    from factory.consumer.align.features import FeatureRules
    from factory.consumer.align.flags import Flags
    from factory.consumer.align.model import Change
    from factory.planning.baseline import BaselineProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileStep:
    """What brings one variant of a copy to the baseline's profile: settings in the manifest, and flags."""

    copy: WorkingCopy
    use: VariantUse
    common: BaselineProfile
    settings: tuple[Change, ...]
    flags: Flags

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that `taken` changes."""
        return (*self.settings, *self.flags.changes)

    def taken(self) -> WorkingCopy:
        """Write the manifest, and return the copy with the flags.

        Raises `ConfigurationError` where the manifest's form cannot be kept; then nothing is written.
        """
        manifest = str((self.copy.root / "Cargo.toml").relative_to(self.copy.folder))
        texts = self.copy.read()
        made = with_profile(texts[manifest], self.use, self.common, self.copy.shown(manifest))
        self.copy.write(texts | {manifest: made})
        return replace(self.copy, recorded=self.flags.recorded)


def profile_step(copy: WorkingCopy, use: VariantUse, variant: str, features: FeatureRules) -> ProfileStep | None:
    """Return the step for a variant, which may have nothing to change; `None` where the baseline has no profile."""
    common = features.versions.baseline.profile_of(variant)
    if common is None:
        return None
    return ProfileStep(
        copy=copy,
        use=use,
        common=common,
        settings=profile_changes(use, common),
        flags=settle_flags(copy.found, copy.recorded, flag_rules(copy.resolver, features, common)),
    )
