"""A command as an ordinary interpreter runs it: `plain.py NAME ARGUMENT...`; NAME chooses the command."""

import sys

del sys.path[0]  # this directory: its modules are runtime.startup's
del sys.argv[0]

from runtime.startup.layout import command_of  # noqa: E402

sys.exit(command_of(sys.argv[0])())
