"""A plug-in of the engine, and the test that it works."""
