"""Whatever a stranger can send, thrown at the functions that read it.

``python -m tests.fuzz`` searches with coverage as its guide (atheris); the tests here make a short round of the same
targets. What a target promises beyond "no other error than its own" stands in its docstring.
"""
