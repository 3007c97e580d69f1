"""To whom? Upstreams: where they are and how they are reached."""
