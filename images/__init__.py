"""The image format: schema, reading, writing, and the `woodfrog-crit` command."""

lean = False
"""Whether this process is a command of ours, whose start must be short (see `images.messages`)."""
