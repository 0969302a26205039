"""The verbs of ``cmid``: each reads its command line and calls the library."""
