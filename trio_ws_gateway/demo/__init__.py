"""``trio-ws-gateway demo``: a real gateway with everything around it that it needs, and traffic to look at.

The gateway is a process of its own, as in production; what surrounds it is as small as can be. Nothing here is imported
by anything but the command.
"""
