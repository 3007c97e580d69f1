"""Measures the gateway beside its peers, on one machine in one run: ``python -m benchmarks --help``.

A compiled load generator and a compiled echo (``go/``) keep each proxy busy in turn; what counts is the processor
time that the proxy's processes take for it. Reads /proc, and installs missing servers on Debian, as the tests do.
"""
