"""The actions of GitHub that written workflows use, each at one commit.

A tag is moved by whoever holds the repository, also by somebody who broke into it; a commit stays what it is. The tag
stands behind it as a comment, from which Dependabot and Renovate go on.
"""

COMMITS = {
    "actions/cache": ("0057852bfaa89a56745cba8c7296529d2fc39830", "v4.3.0"),
    "actions/checkout": ("11d5960a326750d5838078e36cf38b85af677262", "v4.4.0"),
    "actions/download-artifact": ("d3f86a106a0bac45b974a628896c90dbdf5c8093", "v4.3.0"),
    "actions/setup-python": ("a26af69be951a213d495a4c3e4e4022e16d87065", "v5.6.0"),
    "actions/upload-artifact": ("ea165f8d65b6e75b540449e92b4886f43607fa02", "v4.6.2"),
    "crazy-max/ghaction-github-runtime": ("3cb05d89e1f492524af3d41a1c98c83bc3025124", "v3.1.0"),
    "docker/build-push-action": ("10e90e3645eae34f1e60eeb005ba3a3d33f178e8", "v6.19.2"),
    "docker/login-action": ("c94ce9fb468520275223c153574b00df6fe4bcc9", "v3.7.0"),
    "docker/setup-buildx-action": ("8d2750c68a42422c14e847fe6c8ac0403b4cbd6f", "v3.12.0"),
    "docker/setup-docker-action": ("e43656e248c0bd0647d3f5c195d116aacf6fcaf4", "v4.7.0"),
    "sigstore/cosign-installer": ("6f9f17788090df1f26f669e9d70d6ae9567deba6", "v4.1.2"),
}
"""`git ls-remote https://github.com/OWNER/NAME refs/tags/TAG^{}` tells what a tag stands for."""


def at_commit(action: str) -> str:
    """Return what a workflow says after `uses:`; raise `KeyError` for an action that is not listed here."""
    commit, tag = COMMITS[action]
    return f"{action}@{commit} # {tag}"
