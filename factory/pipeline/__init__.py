"""The stages, once, in the order in which the data passes them.

    repos -> scan -> analyze -> plan -> build -> verify -> push
    nothing but the shipped stacks -> analyze_stacks -> plan -> build
    what was pushed, over the years -> prune: what nothing leads to any more goes
    repos + what was built last -> rebuild: all of these where something changed, else nothing
    repos + their analysis -> meet_baseline: what they would compile if they agreed, for plan
    a consumer's repo + a plan, directory or image -> check
    a consumer's repo + a plan -> align

Every stage is one function from frozen values to a frozen value; between them stand `analysis.json` and `plan.json`,
from which each can be restarted.
"""

from factory.pipeline.analyzing import analyze, scan, weigh_in
from factory.pipeline.artefacts import read_analysis, read_plan
from factory.pipeline.building import (
    DryRun,
    build_images,
    build_locally,
    dry_run_images,
    dry_run_locally,
    image_tags,
)
from factory.pipeline.forecasting import AlignWishes, WarmSource, align, apply_alignment, check, recommend
from factory.pipeline.meeting import meet_baseline, with_aligned
from factory.pipeline.planning import explain, plan, propose_layers, report, write_profiles
from factory.pipeline.projects import InitWishes, init, second_builds
from factory.pipeline.proving import reproduce, verify
from factory.pipeline.pruning import Pruned, prune
from factory.pipeline.publishing import (
    Built,
    Held,
    PushWishes,
    built_by,
    dry_run_push,
    dry_run_stage,
    push,
    record_proof,
    stage,
    verify_signature,
)
from factory.pipeline.rebuilding import Publish, Rebuild, RebuildWishes, rebuild, record_file
from factory.pipeline.run import Run
from factory.pipeline.stacks import analyze_stacks

__all__ = (
    "AlignWishes",
    "Built",
    "DryRun",
    "Held",
    "InitWishes",
    "Pruned",
    "Publish",
    "PushWishes",
    "Rebuild",
    "RebuildWishes",
    "Run",
    "WarmSource",
    "align",
    "analyze",
    "analyze_stacks",
    "apply_alignment",
    "build_images",
    "build_locally",
    "built_by",
    "check",
    "dry_run_images",
    "dry_run_locally",
    "dry_run_push",
    "dry_run_stage",
    "explain",
    "image_tags",
    "init",
    "meet_baseline",
    "plan",
    "propose_layers",
    "prune",
    "push",
    "read_analysis",
    "read_plan",
    "rebuild",
    "recommend",
    "record_file",
    "record_proof",
    "report",
    "reproduce",
    "scan",
    "second_builds",
    "stage",
    "verify",
    "verify_signature",
    "weigh_in",
    "with_aligned",
    "write_profiles",
)
