"""The image format: schema, reading, writing, and the `woodfrog-crit` command."""
