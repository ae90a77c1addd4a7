"""From verified images to the registry: tags, indexes, signatures."""
