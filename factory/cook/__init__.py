"""Where a plan is cooked: a local directory or images."""
