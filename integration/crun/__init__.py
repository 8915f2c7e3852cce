"""crun, a runtime in C that talks to criu through libcriu: its containers frozen and thawed by this engine."""
