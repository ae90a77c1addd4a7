"""The stage `check`: what a repository will find warm on the images, and why not all of it."""
