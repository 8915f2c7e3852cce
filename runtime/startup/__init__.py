"""Programs that start from a snapshot of an interpreter which has everything imported: 3 ms in place of 60.

`record` starts an interpreter, lets it import the project, stops it and writes its memory as an ELF executable,
which the kernel itself maps at the start of a program (`recorder.py`, `executable.py`).  A few instructions
(`entrance.py`) then lead it to where the interpreter was stopped, and `wake.py` makes it the process that it now is.
Where the machine or the sources are other ones by then, the command starts as an ordinary interpreter (`plain.py`).
"""

woken = False
"""Whether this process was started from a snapshot."""
