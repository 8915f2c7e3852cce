"""One file a verb: `VERB` declares its command line, `run(context, values, arguments)` does it."""
