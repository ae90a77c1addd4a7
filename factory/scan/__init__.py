"""Finding cargo workspaces, and copying what cargo needs to know about them: nothing of a repository is
executed.

`discover` finds workspaces, `skeleton` copies one as manifests, lock and stub sources, `cargo_config` records
what the repository's own cargo configuration would have decided, `git_source` brings repositories here by
URL.

Scanned repositories are hostile until shown otherwise. Every file is read through `source_tree`, which never
leaves the scanned folder, never follows a symbolic link out of a repository and never reads more than a
bounded size.
"""
