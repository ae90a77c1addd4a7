"""From verified images to the registry and out of it again: tags, indexes, signatures, pruning."""
