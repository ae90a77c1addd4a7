"""Measurements that take too long for a test; `docs/measurements.md` has their results."""
