"""Images that the engine has, by name, whatever other tests make and remove meanwhile."""

from __future__ import annotations

from factory import process


def images_like(pattern: str) -> list[str]:
    """Return what is called like a pattern, as `NAME:TAG`; `*` stands for anything but a slash.

    An engine reads every image that it lists, and fails when it comes to one that is being removed: none but the
    test's own may be listed (https://github.com/moby/moby/issues/52688).
    """
    return process.run(["docker", "images", "--format={{.Repository}}:{{.Tag}}", pattern]).stdout.split()
