"""What images say of themselves, to programs and to whoever inspects them: their labels, and where their files are."""

import enum

SHARE = "/usr/local/share/rust-warm-factory"
"""The folder of an image that has one folder for each of its layers: contract, contents, what cargo said."""


class Label(enum.StrEnum):
    """A label that programs read; those of OCI that are for people alone are written where images are made."""

    LAYER = "io.rust-warm-factory.layer"
    PLAN = "io.rust-warm-factory.plan"
    """The digest of the part of the plan that the image holds."""
    SETTINGS = "io.rust-warm-factory.settings"
    """The digest of what decides an image's bytes beside plan and base image: `factory.cook.bake_file.made_by`."""
    RUSTC = "io.rust-warm-factory.rustc"
    CARGO_HOME = "io.rust-warm-factory.cargo-home"
    BUILD_DIR = "io.rust-warm-factory.build-dir"
    LAYOUT = "io.rust-warm-factory.layout"
    OWNER = "io.rust-warm-factory.owner"
    HOME_MADE = "io.rust-warm-factory.home-made"
    """The name that `factory base` made a base image under: it may be of no registry."""
    TOOLS = "io.rust-warm-factory.tools"
    BASE_NAME = "org.opencontainers.image.base.name"
    BASE_DIGEST = "org.opencontainers.image.base.digest"
    """Of the base image, `sha256:…`; an image has none where no registry knew it."""
