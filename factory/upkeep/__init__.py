"""Keeping what was built fresh: when to build it again, what calls for that on a schedule, and what may go."""
