"""Real servers for the tests: each on free ports, in its own directory, and gone when the tests are.

A missing server is installed on a Debian machine and is an error everywhere else; no test is ever skipped for it.
"""
