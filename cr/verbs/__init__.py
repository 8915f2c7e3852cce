"""The commands of `woodfrog-criu`, one file each: options in, exit status out.  The table is cr/commands.py."""
