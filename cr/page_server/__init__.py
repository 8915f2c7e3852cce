"""The page server: takes the pages of a dump from another machine, or lends those of images to a lazy restore.

serve(options)           do it here and return when the one conversation is over
start(options)           do it in a child; (pid, port) once it listens
run(options)             the command `page-server`: --daemon, --pidfile, --status-fd
"""

from cr.page_server.process import Started
from cr.page_server.serve import run, serve, start

__all__ = ["Started", "run", "serve", "start"]
