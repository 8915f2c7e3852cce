"""Checkpoint and restore of a container: its configuration mapped onto the engine's options.

options.py   from a command line to the options that both directions share
binds.py     what stays outside: bind mounts, cgroups, masked files, devices, namespaces by path
stdio.py     the first three descriptors: descriptors.json
freeze.py    the checkpoint of a container; thaw.py its restore
annotated.py what create and kill do where annotations name a checkpoint
"""
