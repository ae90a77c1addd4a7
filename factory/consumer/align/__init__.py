"""The stage `align`: the smallest patch that moves a repository onto the organisation's baseline, in steps."""
