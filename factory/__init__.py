"""A pre-warmed base-image factory for Rust."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("rust-warm-factory")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"
