"""A program with some threads whose main thread ends it as soon as there is a file `end`."""

import os
import sys
import threading
import time
from pathlib import Path

directory = Path(sys.argv[1])
for _ in range(20):
    threading.Thread(target=threading.Event().wait).start()
(directory / "pid").write_text(str(os.getpid()))
(directory / "ready").touch()
while not (directory / "end").exists():
    time.sleep(0.001)
os._exit(0)
