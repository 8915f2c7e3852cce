"""The OCI runtime contract: config.json, state, hooks, features.  No word of the C/R engine."""
