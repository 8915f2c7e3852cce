"""A program with many threads whose main thread ends it as soon as its time has come."""

import os
import sys
import threading
import time
from pathlib import Path

directory = Path(sys.argv[1])
for _ in range(200):
    threading.Thread(target=threading.Event().wait).start()
end = time.monotonic() + float(sys.argv[2])
(directory / "pid").write_text(str(os.getpid()))
(directory / "ready").touch()
time.sleep(end - time.monotonic())
os._exit(0)
