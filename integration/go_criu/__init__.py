"""go-criu, the client library of runc, podman and others: its own test programs against this engine."""
