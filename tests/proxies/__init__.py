"""The gateway behind real reverse proxies, set up as ``docs/proxies.md`` tells everybody to."""
