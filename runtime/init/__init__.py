"""What happens inside: the steps of a container's first process between its birth and its exec.

All modules are imported before the fork; behind pivot_root the host's files are out of reach.
"""
