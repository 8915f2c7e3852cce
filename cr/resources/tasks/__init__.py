"""State of tasks and threads."""
