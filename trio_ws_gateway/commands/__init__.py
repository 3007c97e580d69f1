"""The commands, one module each: what is read from the command line, what is shown, and the exit status."""
