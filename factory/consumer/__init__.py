"""The side of the projects that build on the images."""
