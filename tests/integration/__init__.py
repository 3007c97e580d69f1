"""The gateway as a process, in front of real servers."""
