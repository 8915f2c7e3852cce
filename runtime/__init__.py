"""The container runtime: the `woodfrog` command, one file a verb; a container's life."""
