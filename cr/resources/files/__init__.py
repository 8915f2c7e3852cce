"""Open files with a name, pipes, devices, and what is done with descriptors."""
