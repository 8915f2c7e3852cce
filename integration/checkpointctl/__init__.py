"""checkpointctl reads what podman exports of a container that this engine froze."""
