"""The cases of the Autobahn test suite, straight to an echo server and through the gateway to the same one.

``python -m tests.conformance`` runs all of them; the tests here run a few of every section.
"""
