"""The steps in their order, on a copy; every state between them is analysed and forecast like any repository."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from factory.consumer.align.copy import WorkingCopy, patch_of
from factory.consumer.align.features import FeaturesBy, add_features, source_texts
from factory.consumer.align.hack import hack_folder, without_hack
from factory.consumer.align.model import AlignReport, Change, State, Step, StepName, WorkspaceAlignment
from factory.consumer.align.profile import profile_changes
from factory.consumer.align.profile_step import profile_step
from factory.consumer.align.settle import Pace
from factory.consumer.align.versions import move_versions
from factory.errors import ConfigurationError
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from factory.analysis.analyze import Resolver
    from factory.analysis.model import Analysis
    from factory.consumer.align.features import Added, FeatureRules
    from factory.consumer.check.model import CheckReport
    from factory.scan.model import FoundWorkspace, Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What to align: `steps` are those to take; the cargo profile is written only where it is among them."""

    variant: str
    steps: frozenset[StepName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligner:
    """What aligning takes beside the workspace; `measure` forecasts an analysis of one workspace."""

    resolver: Resolver
    features: FeatureRules
    measure: Callable[[FoundWorkspace, Analysis], CheckReport]
    tell: Callable[[str], None]
    """Gets a line before what takes long: cargo resolves every step anew."""


def align_repository(scan: Scan, aligner: Aligner, wishes: Wishes, *, warm: str, advisories: str) -> AlignReport:
    """Align every workspace of a repository; the amounts are of the image that can save most."""
    rows = [align_workspace(found, aligner, wishes) for found in scan.workspaces]
    states = [state for row in rows for state in (row.before, *(step.after for step in row.steps))]
    reports = [state.report for state in states if state.report is not None]
    # The state in which most is warm shows which image is meant: where nothing is, all images are alike.
    best = max(reports, key=lambda report: report.hit.seconds, default=None)
    return AlignReport(
        warm=warm,
        variant=wishes.variant,
        image=best.image if best is not None else "",
        advisories=advisories,
        workspaces=tuple(rows),
    )


_NOTHING = 0.05
"""Seconds that are not worth a word."""

_NO_GAIN = (
    "only proposed: with this plan nothing more would be warm. A plan made with --aligned has what repositories "
    "compile once they agree; under another cargo profile only --profile helps"
)


def align_workspace(found: FoundWorkspace, aligner: Aligner, wishes: Wishes) -> WorkspaceAlignment:
    """Return the steps that move a workspace onto the baseline, and the files as they should be; writes nothing.

    Where nothing is worth writing under the baseline's cargo profile, that is only proposed, and the other steps are
    judged under the profile that stays.
    """
    with scratch("factory-align-") as folder:
        copy = WorkingCopy.make(found, folder / "copy", aligner.resolver)
        made = _Alignment(copy, aligner, wishes).run()
        others = wishes.steps - {StepName.PROFILE}
        changed_profile = any(step.name is StepName.PROFILE and step.changes for step in made.steps)
        if made.files or not changed_profile or others in (wishes.steps, frozenset()):
            return made
        copy = WorkingCopy.make(found, folder / "unchanged", aligner.resolver)
        return _Alignment(copy, aligner, replace(wishes, steps=others)).run()


@dataclass(slots=True)
class _Alignment:
    copy: WorkingCopy
    aligner: Aligner
    wishes: Wishes
    steps: list[Step] = field(default_factory=list)
    configurations: dict[str, str | None] = field(default_factory=dict)
    """The cargo configurations that are to be written, by their paths in the repository; `None` for one to remove."""
    had_hack: bool = False
    original: dict[str, str] = field(default_factory=dict)
    """The manifests and the lock as they are."""
    stripped: dict[str, str] = field(default_factory=dict)
    """The same without our crate."""
    doubt: str = ""
    """Why the step `versions` was not worth taking by itself; "" where it was."""

    def run(self) -> WorkspaceAlignment:
        original = self.copy.read()
        self._tell("as it is")
        analysis = self.copy.analyze()
        first = self._state(analysis)
        if first.problem:
            return self._unaligned(first.problem, first)
        if first.barred:
            return replace(self._unaligned("", first), barred=first.barred)
        state = first
        self.had_hack = hack_folder(original, self._root) is not None
        try:
            self.copy.write(without_hack(original, self._root))
            if self.copy.read() != original:
                self.copy.settle_lock()
                analysis = self.copy.analyze()
                state = self._state(analysis)
            self.original, self.stripped = original, self.copy.read()
            for step in (self._profile, self._versions_and_features):
                analysis, state = step(analysis, state)
        except ConfigurationError as error:
            return self._unaligned(str(error).replace("\n", " "), first)
        files = self._files(original)
        self._propose_profile(analysis, state)
        idle = why_idle(first, state)
        if files and idle:
            state, files = first, {}
            self._only_propose(idle)
        elif not files:
            state = first
            self._end_where_they_began(first)
        return WorkspaceAlignment(
            path=self.copy.found.path,
            folder=self.copy.found.repo_root,
            problem="",
            before=first,
            after=state,
            steps=tuple(self.steps),
            files=files,
        )

    def _tell(self, what: str) -> None:
        self.aligner.tell(f"resolving {self.copy.found.path}: {what}")

    def _pace(self, what: str) -> Pace:
        return Pace(self._tell, what)

    @property
    def _root(self) -> str:
        return str(self.copy.root.relative_to(self.copy.folder))

    def _unaligned(self, problem: str, state: State) -> WorkspaceAlignment:
        return WorkspaceAlignment(
            path=self.copy.found.path,
            folder=self.copy.found.repo_root,
            problem=problem,
            before=state,
            after=state,
            steps=(),
            files={},
        )

    def _state(self, analysis: Analysis) -> State:
        if not analysis.resolved:
            return State(report=None, problem=analysis.workspaces[0].reason)
        return State(report=self.aligner.measure(self.copy.found, analysis))

    def _profile(self, analysis: Analysis, state: State) -> tuple[Analysis, State]:
        """Take over the cargo profile first, where it is wanted: under another one nothing of the rest is warm."""
        if StepName.PROFILE not in self.wishes.steps:
            return analysis, state
        return self._take_profile(analysis, state, chosen=True)

    def _propose_profile(self, analysis: Analysis, state: State) -> None:
        """Show what the cargo profile would gain, where it is not to be written."""
        if StepName.PROFILE not in self.wishes.steps:
            self._take_profile(analysis, state, chosen=False)

    def _take_profile(self, analysis: Analysis, state: State, *, chosen: bool) -> tuple[Analysis, State]:
        use = analysis.workspaces[0].variants.get(self.wishes.variant)
        step = None if use is None else profile_step(self.copy, use, self.wishes.variant, self.aligner.features)
        if step is None or not (step.changes or step.flags.left):
            return analysis, state
        before = self.copy.read()
        self._tell(StepName.PROFILE)
        made, after = analysis, state
        notes: tuple[str, ...] = ()
        if step.changes:
            try:
                self.copy = step.taken()
            except ConfigurationError as error:
                left = (*step.flags.left, Change(StepName.PROFILE, error.what))
                self.steps.append(_idle(StepName.PROFILE, left, state, chosen=chosen))
                return analysis, state
            made = self.copy.analyze()
            after = self._state(made)
            if made.resolved and profile_changes(made.workspaces[0].variants[self.wishes.variant], step.common):
                notes = ("part of it is not in the root manifest: look into .cargo/config.toml",)
        if chosen:
            self.configurations = {path: text for path, (_, text) in step.flags.files.items()}
        self.steps.append(
            Step(
                name=StepName.PROFILE,
                chosen=chosen,
                changes=step.changes,
                left=step.flags.left,
                notes=notes,
                patch=self._patch(StepName.PROFILE, before) + patch_of(step.flags.files),
                before=state,
                after=after,
            )
        )
        return made, after

    def _only_propose(self, why: str) -> None:
        """Take back what would be written: a patch that gains nothing is not worth a review."""
        written = [number for number, step in enumerate(self.steps) if step.chosen and step.patch]
        for number in written:
            self.steps[number] = replace(self.steps[number], chosen=False)
        for number in written[-1:]:
            self.steps[number] = replace(self.steps[number], notes=(*self.steps[number].notes, why))

    def _end_where_they_began(self, state: State) -> None:
        """Let all steps end where they began: our crate was taken out and written anew, and that is no change."""
        self.steps = [replace(step, before=state, after=state) if step.chosen else step for step in self.steps]

    def _versions_and_features(self, analysis: Analysis, state: State) -> tuple[Analysis, State]:
        """Take both steps; versions that are worth nothing by themselves stay only where features gain more with them.

        Versions alone can lose what is warm: repositories that have moved have the baseline's features as well.
        """
        before, steps = self.copy.read(), tuple(self.steps)
        both = self._features(*self._versions(analysis, state, doubtful=True))
        if not self.doubt:
            return both
        after, taken = self.copy.read(), tuple(self.steps)
        self.copy.write(before)
        self.steps = list(steps)
        # What the moves come to is known: they are not made once more to be undone.
        self._note(StepName.VERSIONS, (), (), before, state, state, (f"not taken: {self.doubt}",))
        without = self._features(analysis, state)
        if without[1].missing_seconds <= both[1].missing_seconds + _NOTHING:
            return without
        self.copy.write(after)
        self.steps = list(taken)
        return both

    def _versions(self, analysis: Analysis, state: State, *, doubtful: bool = False) -> tuple[Analysis, State]:
        if StepName.VERSIONS not in self.wishes.steps:
            return analysis, state
        before = self.copy.read()
        self._tell(StepName.VERSIONS)
        moved = move_versions(self.copy, self.aligner.features.versions, analysis, pace=self._pace("moves"))
        return self._took(
            StepName.VERSIONS, moved.changes, moved.left, before, analysis, state, moved.analysis, doubtful=doubtful
        )

    def _features(self, analysis: Analysis, state: State) -> tuple[Analysis, State]:
        if StepName.FEATURES not in self.wishes.steps:
            return analysis, state
        before = self.copy.read()
        self._tell(StepName.FEATURES)
        rules = self.aligner.features
        if rules.by is FeaturesBy.AUTO and self.had_hack:
            # To go from one way to the other would be a patch that gains nothing.
            rules = replace(rules, by=FeaturesBy.HACK)
        found = add_features(self.copy, rules, analysis, pace=self._pace("features"))
        added, notes = (found.free, ()) if found.more is None else self._more_features(found.free, found.more)
        return self._took(StepName.FEATURES, added.changes, added.left, before, analysis, state, added.analysis, notes)

    def _more_features(self, free: Added, more: Added) -> tuple[Added, tuple[str, ...]]:
        """Take the features that bring other crates as well, where that saves more seconds than a cold build pays."""
        one, other = (self._state(added.analysis) for added in (free, more))
        # What the crates themselves take is no gain, however warm they are.
        saved = one.missing_seconds - other.missing_seconds
        price = other.total().seconds - one.total().seconds
        said = f"features that bring crates: {saved:+.1f} s saved on the image, {price:+.1f} s in a build without it"
        if not other.problem and saved > max(price, _NOTHING):
            return more, (f"{said}: taken",)
        self.copy.write(free.texts)
        return free, (f"{said}: not taken",)

    def _took(
        self,
        name: StepName,
        changes: tuple[Change, ...],
        left: tuple[Change, ...],
        before: Mapping[str, str],
        analysis: Analysis,
        state: State,
        made: Analysis,
        notes: tuple[str, ...] = (),
        *,
        doubtful: bool = False,
    ) -> tuple[Analysis, State]:
        """Note a step from `analysis` and `state` to what it `made`; one that is not worth taking is undone.

        A `doubtful` one stays, with the doubt noted.
        """
        after = self._state(made)
        if after.problem:
            raise ConfigurationError(f"after the step {name} cargo does not resolve it any more: {after.problem}")
        why_not = self._refusal(state, after) if changes else ""
        if doubtful:
            self.doubt = why_not
        elif why_not:
            self.copy.write(before)
            notes = (*notes, f"not taken: {why_not}")
            changes, left, made, after = (), (), analysis, state
        self._note(name, changes, left, before, state, after, notes)
        return made, after

    def _note(
        self,
        name: StepName,
        changes: tuple[Change, ...],
        left: tuple[Change, ...],
        before: Mapping[str, str],
        state: State,
        after: State,
        notes: tuple[str, ...],
    ) -> None:
        patch = self._patch(name, before)
        self.steps.append(
            Step(
                name=name,
                chosen=True,
                # What our crate had already is written anew, and changes nothing.
                changes=changes if patch else (),
                left=left,
                notes=notes,
                patch=patch,
                before=state,
                after=after,
            )
        )

    def _patch(self, name: StepName, before: Mapping[str, str]) -> str:
        """Return what a step changes since `before`, in the repository as the steps before it leave it."""
        after = self.copy.read()
        last = [step for step in StepName if step in self.wishes.steps][-1]
        return self.copy.patch(self._with_ours(before), after if name is last else self._with_ours(after))

    def _with_ours(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return a state with our crate as the repository has it: it was taken out before all steps."""
        untouched = {path for path in self.stripped if texts.get(path) == self.stripped[path]}
        absent = self.original.keys() - self.stripped.keys() - texts.keys()
        return {**texts, **{path: self.original[path] for path in untouched | absent}}

    def _refusal(self, state: State, after: State) -> str:
        """Say why a step from `state` to `after` is not worth taking; "" where it is."""
        lost = _loss(state, after)
        if lost:
            return lost
        # A step that gains nothing may be what lets the next one gain: only where one has gained already it is not.
        if any(_gains(step.before, step.after) for step in self.steps) and not _gains(state, after):
            return "with this plan it gains nothing more"
        return ""

    def _files(self, original: Mapping[str, str]) -> dict[str, str | None]:
        """Return what differs from the repository, by path in the copy, with the sources of our crate."""
        final = self.copy.read()
        paths = original.keys() | final.keys()
        files = {path: final.get(path) for path in sorted(paths) if original.get(path) != final.get(path)}
        folder = hack_folder(final, self._root)
        if folder is not None and f"{folder}/Cargo.toml" in files:
            with_script = "build-dependencies]" in final[f"{folder}/Cargo.toml"]
            files |= {f"{folder}/{path}": text for path, text in source_texts(with_script).items()}
        written = {self.copy.shown(path): self.copy.as_written(path, text) for path, text in files.items()}
        return written | self.configurations


def _idle(name: StepName, left: tuple[Change, ...], state: State, *, chosen: bool) -> Step:
    """Return a step that changes nothing, with what is left and why."""
    return Step(name=name, chosen=chosen, changes=(), left=left, notes=(), patch="", before=state, after=state)


def why_idle(before: State, after: State) -> str:
    """Say why all steps together are not worth writing; "" where they are."""
    lost = _loss(before, after)
    if lost:
        # More can be warm and more be missing at once: other versions take longer to compile.
        return f"only proposed: {lost}"
    return "" if _gains(before, after) else _NO_GAIN


def _loss(before: State, after: State) -> str:
    """Say how much more would have to be compiled; "" where it is no more."""
    lost = after.missing_seconds - before.missing_seconds
    # The plan has this repository as it is: the baseline helps it only where it is cooked.
    return f"with this plan {lost:.1f} s more would have to be compiled" if lost > _NOTHING else ""


def _gains(before: State, after: State) -> bool:
    """Whether more seconds are warm after it, each in the image that saves most."""
    if before.report is None or after.report is None:
        return False
    return after.report.hit.seconds - before.report.hit.seconds > _NOTHING
