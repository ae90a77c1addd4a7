"""Proof that an image or a directory keeps its promise: freshness on real repositories, owners, nothing foreign."""
