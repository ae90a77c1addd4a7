"""The stages, once, in the order in which the data passes them.

    repos -> scan -> analyze -> plan -> build -> verify
    repos + what was built last -> rebuild: all of these where something changed, else nothing
    repos + their analysis -> meet_baseline: what they would compile if they agreed, for plan
    a consumer's repo + a plan, directory or image -> check
    a consumer's repo + a plan -> align

Every stage is one function from frozen values to a frozen value; between them stand `analysis.json` and `plan.json`,
from which each can be restarted.
"""

from factory.pipeline.analyzing import analyze, scan, weigh_in
from factory.pipeline.artefacts import read_analysis, read_plan
from factory.pipeline.building import DryRun, build_images, build_locally, dry_run_images, dry_run_locally
from factory.pipeline.forecasting import AlignWishes, WarmSource, align, apply_alignment, check, recommend
from factory.pipeline.meeting import meet_baseline, with_aligned
from factory.pipeline.planning import explain, plan, report
from factory.pipeline.projects import InitWishes, init, second_builds
from factory.pipeline.proving import reproduce, verify
from factory.pipeline.rebuilding import Rebuild, RebuildWishes, rebuild
from factory.pipeline.run import Run

__all__ = (
    "AlignWishes",
    "DryRun",
    "InitWishes",
    "Rebuild",
    "RebuildWishes",
    "Run",
    "WarmSource",
    "align",
    "analyze",
    "apply_alignment",
    "build_images",
    "build_locally",
    "check",
    "dry_run_images",
    "dry_run_locally",
    "explain",
    "init",
    "meet_baseline",
    "plan",
    "read_analysis",
    "read_plan",
    "rebuild",
    "recommend",
    "report",
    "reproduce",
    "scan",
    "second_builds",
    "verify",
    "weigh_in",
    "with_aligned",
)
