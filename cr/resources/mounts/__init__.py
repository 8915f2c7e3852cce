"""Types of filesystem that can be mounted anew, one or a few alike in a file; `machinery` does the work."""
