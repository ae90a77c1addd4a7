"""Recipes and where they are cooked: a local directory or images."""
