"""When to build again what was built, what a rebuild cannot see, and what is remembered of the last one."""
