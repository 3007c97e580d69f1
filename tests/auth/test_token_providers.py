"""Tokens shaped exactly as four providers make them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.oidc_provider import sign, signing_key
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.keys import parse_key_set
from trio_ws_gateway.auth.token import TokenPolicy, verify

NOW = 1_764_000_000.0
KEY = signing_key("RS256")


def identity(
    header: Mapping[str, Any], claims: Mapping[str, Any], jwk: Mapping[str, Any], *, audience: str
) -> Identity:
    """What comes of a token with that header and those claims, and of a key set with a key of that shape in it."""
    jwks = json.dumps({"keys": [{**KEY.as_dict(private=False), **jwk}]})
    policy = TokenPolicy(algorithms=("RS256",), issuer=claims["iss"], audiences=(audience,))
    token = sign(KEY, json.dumps(claims).encode(), header)
    return verify(token, parse_key_set(jwks, policy.algorithms), policy, NOW)


KEYCLOAK_KID = "u7h9Xn3KqG0mW9S7mGkqk1v3b0yYv0l7cQnqk2b7t9A"
KEYCLOAK = {
    "exp": 1764000300,
    "iat": 1764000000,
    "auth_time": 1763999990,
    "jti": "onrtac:8d3f2c1a-58c9-4f4e-a7a4-0f4c7f6d1a2b",
    "iss": "https://id.example.com/realms/robots",
    "aud": ["gateway", "account"],
    "sub": "f1b6f4a0-9d1e-4a0e-9f0b-3a1d3f1c9a77",
    "typ": "Bearer",
    "azp": "fleet-app",
    "sid": "5a1f3c60-5c1c-4a9b-8f85-7d0b5d4f6a10",
    "acr": "1",
    "allowed-origins": ["https://fleet.example.com"],
    "realm_access": {"roles": ["default-roles-robots", "offline_access", "operator"]},
    "resource_access": {"gateway": {"roles": ["publish"]}, "account": {"roles": ["manage-account", "view-profile"]}},
    "scope": "openid profile email",
    "email_verified": True,
    "name": "Robbie Robot",
    "preferred_username": "robbie",
    "given_name": "Robbie",
    "family_name": "Robot",
    "email": "robbie@example.com",
}


def test_keycloak() -> None:
    """An access token of Keycloak: roles of the realm, then of its clients under their names, then the scopes."""
    assert identity(
        {"alg": "RS256", "typ": "JWT", "kid": KEYCLOAK_KID},
        KEYCLOAK,
        {"kid": KEYCLOAK_KID, "alg": "RS256", "use": "sig", "x5c": ["MIICmzCCAYMCBgGX"], "x5t": "x", "x5t#S256": "y"},
        audience="gateway",
    ) == Identity(
        issuer="https://id.example.com/realms/robots",
        subject="f1b6f4a0-9d1e-4a0e-9f0b-3a1d3f1c9a77",
        preferred_username="robbie",
        issued_at=1764000000,
        expires_at=1764000300,
        token_id="onrtac:8d3f2c1a-58c9-4f4e-a7a4-0f4c7f6d1a2b",
        session_id="5a1f3c60-5c1c-4a9b-8f85-7d0b5d4f6a10",
        roles=(
            *("default-roles-robots", "offline_access", "operator"),
            *("gateway:publish", "account:manage-account", "account:view-profile"),
            *("openid", "profile", "email"),
        ),
    )


@pytest.mark.parametrize("kind", ["JWT", "at+jwt"])
def test_auth0(kind: str) -> None:
    """An access token of Auth0, in its own profile and in that of RFC 9068: an issuer that ends with a slash, a
    subject with a bar, an audience that is a URL beside that of ``userinfo``."""
    kid = "Wm1sQkV2c3hHc0xQ"
    api = "https://api.example.com"
    claims = {
        "iss": "https://example.eu.auth0.com/",
        "sub": "auth0|650c1f0a9f7d3b0068f6a1c2",
        "aud": [api, "https://example.eu.auth0.com/userinfo"],
        "iat": 1764000000,
        "exp": 1764086400,
        "scope": "openid profile read:telemetry",
        "azp": "Zk3q0yR8a1B2c3D4e5F6g7H8i9J0kLmN",
        "permissions": ["read:telemetry"],
        **({"jti": "Jm0tQ6vY", "client_id": "Zk3q0yR8a1B2c3D4e5F6g7H8i9J0kLmN"} if kind == "at+jwt" else {}),
    }
    jwk = {"kid": kid, "alg": "RS256", "use": "sig", "x5t": "x", "x5c": ["MIIDHTCCAgWgAwIBAgIJ"]}
    assert identity({"alg": "RS256", "typ": kind, "kid": kid}, claims, jwk, audience=api) == Identity(
        issuer="https://example.eu.auth0.com/",
        subject="auth0|650c1f0a9f7d3b0068f6a1c2",
        issued_at=1764000000,
        expires_at=1764086400,
        token_id="Jm0tQ6vY" if kind == "at+jwt" else None,
        roles=("openid", "profile", "read:telemetry"),
    )


COGNITO_ISSUER = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab1Cd2Ef3"
COGNITO_KID = "abcdefghijklmnopqrsexample="
COGNITO_JWK = {"alg": "RS256", "kid": COGNITO_KID, "use": "sig"}
COGNITO_CLIENT = "1example23456789"
COGNITO_SUBJECT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def test_cognito_id_token() -> None:
    """An id token of Cognito: no ``typ``, groups, and the client as its audience."""
    claims = {
        "sub": COGNITO_SUBJECT,
        "cognito:groups": ["operators", "eu-fleet"],
        "email_verified": True,
        "iss": COGNITO_ISSUER,
        "cognito:username": "robbie",
        "origin_jti": "5b9f50a3-05da-454a-8b99-b79c2349de77",
        "aud": COGNITO_CLIENT,
        "event_id": "0ed5ad5c-7182-4ecf-8fc5-8f9e3f0f9a10",
        "token_use": "id",
        "auth_time": 1763999990,
        "exp": 1764003600,
        "iat": 1764000000,
        "jti": "7e0d1b7e-4b9e-4a39-b7bd-d1a2f4e9c0aa",
        "email": "robbie@example.com",
    }
    found = identity({"kid": COGNITO_KID, "alg": "RS256"}, claims, COGNITO_JWK, audience=COGNITO_CLIENT)
    assert (found.subject, found.roles) == (COGNITO_SUBJECT, ("operators", "eu-fleet"))


def test_cognito_access_token() -> None:
    """An access token of Cognito: there is no ``aud``, its ``client_id`` is the audience."""
    claims = {
        "sub": COGNITO_SUBJECT,
        "cognito:groups": ["operators"],
        "iss": COGNITO_ISSUER,
        "version": 2,
        "client_id": COGNITO_CLIENT,
        "origin_jti": "5b9f50a3-05da-454a-8b99-b79c2349de77",
        "token_use": "access",
        "scope": "aws.cognito.signin.user.admin openid",
        "auth_time": 1763999990,
        "exp": 1764003600,
        "iat": 1764000000,
        "jti": "7e0d1b7e-4b9e-4a39-b7bd-d1a2f4e9c0ab",
        "username": "robbie",
    }
    found = identity({"kid": COGNITO_KID, "alg": "RS256"}, claims, COGNITO_JWK, audience=COGNITO_CLIENT)
    assert found == Identity(
        issuer=COGNITO_ISSUER,
        subject=COGNITO_SUBJECT,
        issued_at=1764000000,
        expires_at=1764003600,
        token_id="7e0d1b7e-4b9e-4a39-b7bd-d1a2f4e9c0ab",
        roles=("operators", "aws.cognito.signin.user.admin", "openid"),
    )


def test_entra_id() -> None:
    """An access token of Entra ID v2: a key without ``alg``, ``x5t`` in the header, app roles and ``scp``."""
    kid = "rtsFT-b-7LuY7DVYeSNKcIJ7Vnc"
    tenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
    api = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
    issuer = f"https://login.microsoftonline.com/{tenant}/v2.0"
    claims = {
        "aud": api,
        "iss": issuer,
        "iat": 1764000000,
        "nbf": 1764000000,
        "exp": 1764004500,
        "aio": "AXQAi/8IAAAAtAaZLo3ChMif6KOnttRB7eBq4/DccQzjcJGxPYy",
        "azp": "3f8d2a10-7c1c-4d54-8f3e-0a9b1c2d3e4f",
        "azpacr": "0",
        "name": "Robbie Robot",
        "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
        "preferred_username": "robbie@example.com",
        "rh": "I",
        "roles": ["Fleet.Operate"],
        "scp": "access_as_user Telemetry.Read",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        "tid": tenant,
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "2.0",
    }
    header = {"typ": "JWT", "alg": "RS256", "kid": kid, "x5t": kid}
    jwk = {"use": "sig", "kid": kid, "x5t": kid, "x5c": ["MIIC/TCCAeWgAwIBAgII"], "issuer": issuer}
    assert identity(header, claims, jwk, audience=api) == Identity(
        issuer=issuer,
        subject="HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        preferred_username="robbie@example.com",
        issued_at=1764000000,
        expires_at=1764004500,
        roles=("Fleet.Operate", "access_as_user", "Telemetry.Read"),
    )
