"""Formats. Bytes in, values out, and back. Nothing here knows a socket, a clock or Trio."""
