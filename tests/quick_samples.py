"""The sample repositories without optimisation, which takes half of the time that compiling them takes."""

from __future__ import annotations

import shutil
from pathlib import Path

SAMPLES = Path(__file__).with_name("samples")
_PROFILE = "\n[profile.release]\nopt-level = 0\n"


def quick_samples(folder: Path) -> Path:
    """Copy the samples into `folder`, each with a cargo profile that compiles quickly; return where they are.

    What depends on the cargo profile is tested where profiles are: a line of commands does not.
    """
    samples = shutil.copytree(SAMPLES, folder / SAMPLES.name)
    for manifest in samples.glob("*/Cargo.toml"):
        manifest.write_text(f"{manifest.read_text(encoding='utf-8')}{_PROFILE}", encoding="utf-8")
    return samples
