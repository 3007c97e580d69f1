"""The credential of operators: where the settings put it, for the door and for who knocks at it."""

from trio_ws_gateway.config.kinds import checked_secret
from trio_ws_gateway.config.loading import BadSettings, Problem
from trio_ws_gateway.config.settings import Settings


def credential_of(settings: Settings) -> str | None:
    """What operators show, where they have to show something. Raises ``BadSettings`` for a file that will not do."""
    if settings.admin_token_file is None:
        return settings.admin_token
    right = "a file with nothing but the credential: 16 to 1024 characters without spaces"
    try:
        return checked_secret(settings.admin_token_file.read_text(encoding="ascii").strip())
    except OSError as error:
        raise BadSettings((Problem("ADMIN_TOKEN_FILE", f"cannot be read: {error.strerror}", right),)) from None
    except ValueError as error:
        reason = "holds what is no ASCII" if isinstance(error, UnicodeError) else f"holds a credential that {error}"
        raise BadSettings((Problem("ADMIN_TOKEN_FILE", reason, right),)) from None
