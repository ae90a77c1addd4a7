"""What cargo says and decides: toolchains, unit graphs, unit keys, locks, freshness."""
