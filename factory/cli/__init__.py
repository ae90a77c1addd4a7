"""The commands, one module each: they parse, call the pipeline and print. Listed here, in order of use."""

from factory.cli.align import align
from factory.cli.analyze import analyze
from factory.cli.app import app
from factory.cli.base import base
from factory.cli.build import build
from factory.cli.cache import cache_app
from factory.cli.check import check
from factory.cli.configuration import config_app
from factory.cli.costs import costs_app
from factory.cli.demo import demo
from factory.cli.init import init
from factory.cli.layers import layers
from factory.cli.plan import plan
from factory.cli.program import EXIT_INTERRUPTED, EXIT_OUR_BUG, main
from factory.cli.prune import prune
from factory.cli.push import push
from factory.cli.rebuild import rebuild
from factory.cli.recommend import recommend
from factory.cli.report import report
from factory.cli.schedule import schedule
from factory.cli.verify import verify

__all__ = ["EXIT_INTERRUPTED", "EXIT_OUR_BUG", "app", "main"]

for command in (
    analyze,
    plan,
    layers,
    build,
    verify,
    push,
    rebuild,
    prune,
    schedule,
    check,
    align,
    recommend,
    report,
    init,
    base,
    demo,
):
    app.command()(command)

for name, group in (
    ("config", config_app),
    ("cache", cache_app),
    ("costs", costs_app),
):
    app.add_typer(group, name=name)
