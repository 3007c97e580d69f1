"""What a client asks of the gateway itself in mid-session, in words that its upstream never hears."""

from attrs import field, frozen

from trio_ws_gateway.causes import Words


@frozen(kw_only=True)
class Asked:
    """``token``: to be believed from now on, ``None`` where nothing has to be verified.

    ``reply``: what the client hears once that is done; empty where the protocol has no answer to it.
    """

    token: str | None = field(default=None, repr=False)
    reply: Words = b""
