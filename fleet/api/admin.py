"""Tokens and credentials: for admins; neither is ever given out again (R32, R38)."""

from __future__ import annotations

from dataclasses import replace

from fleet.access.policy import Role
from fleet.api.models import rfc3339
from fleet.api.models_deeds import CredentialList, CredentialOut, Done, TokenList, TokenOut
from fleet.api.queries import CredentialBody, TokenBody
from fleet.api.route import Call, Route
from fleet.core.audit import AuditEntry
from fleet.core.ids import is_dns_label
from fleet.errors import FleetError, NotKnown, RequestInvalid
from fleet.ports.state import TokenRow


def _token_out(row: TokenRow, token: str = "") -> TokenOut:
    return TokenOut(
        id=row.id,
        name=row.name,
        role=row.role,
        created_at=rfc3339(row.created_at),
        expires_at=rfc3339(row.expires_at),
        revoked_at=rfc3339(row.revoked_at),
        token=token,
    )


async def _create_token(call: Call) -> TokenOut:
    """The audit log has the attempt before the token is in force, and then how it went (R43)."""
    body, state = await call.body(TokenBody), call.parts.state
    what = f"token {body.name} ({body.role})"
    entry = AuditEntry(call.parts.wall(), call.caller.name, "create-token", object=what)
    await state.write(entry)
    try:
        token, row = await call.parts.tokens.create(body.name, Role(body.role), body.expires_seconds)
    except FleetError as error:
        await state.write(replace(entry, outcome=f"refused: {error.reason}"))
        raise
    await state.write(replace(entry, outcome="done"))
    return _token_out(row, token)


async def _tokens(call: Call) -> TokenList:
    rows = await call.parts.state.tokens()
    return TokenList(items=[_token_out(row) for row in rows], total=len(rows))


async def _revoke_token(call: Call) -> Done:
    missing = NotKnown(f"there is no token {call.name} in force", next_step="fleet token list")
    if not any(call.name in (row.id, row.name) and not row.revoked_at for row in await call.parts.state.tokens()):
        raise missing
    await _audit(call, "revoke-token", f"token {call.name}", outcome="")
    if not await call.parts.tokens.revoke(call.name):
        raise missing
    await _audit(call, "revoke-token", f"token {call.name}")
    return Done(message=f"token {call.name} is revoked")


async def _put_credential(call: Call) -> CredentialOut:
    body = await call.body(CredentialBody)
    if not is_dns_label(call.name):
        raise RequestInvalid(f"{call.name} is no name for a credential", next_step="use a-z, 0-9 and -")
    call.parts.check_kubeconfig(call.name, body.kubeconfig.encode())
    now = call.parts.wall()
    await _audit(call, "put-credential", f"credential {call.name}", outcome="")
    await call.parts.state.put_credential(call.name, body.kubeconfig.encode(), now)
    call.parts.bells.orders.set()
    await _audit(call, "put-credential", f"credential {call.name}")
    return CredentialOut(name=call.name, added_at=rfc3339(now))


async def _credentials(call: Call) -> CredentialList:
    known = {state.name: state for state in call.parts.view.credentials.values()}
    items: list[CredentialOut] = []
    for name, at in sorted((await call.parts.state.credentials()).items()):
        state = known.get(name)
        ends, renews = (state.ends.at, state.renew_at) if state is not None else (0.0, 0.0)
        items.append(CredentialOut(name=name, added_at=rfc3339(at), ends_at=rfc3339(ends), renew_at=rfc3339(renews)))
    return CredentialList(items=items, total=len(items))


async def _remove_credential(call: Call) -> Done:
    missing = NotKnown(f"there is no credential {call.name} in the store", next_step="fleet credential list")
    if call.name not in await call.parts.state.credentials():
        raise missing
    await _audit(call, "remove-credential", f"credential {call.name}", outcome="")
    if not await call.parts.state.remove_credential(call.name):
        raise missing
    await _audit(call, "remove-credential", f"credential {call.name}")
    return Done(message=f"credential {call.name} is removed")


async def _audit(call: Call, action: str, what: str, *, outcome: str = "done") -> None:
    entry = AuditEntry(call.parts.wall(), call.caller.name, action, object=what, outcome=outcome)
    await call.parts.state.write(entry)


ROUTES = (
    Route("POST", "/api/v1/tokens", "Make a token", Role.ADMIN, _create_token, body=TokenBody, answer=TokenOut,
          status=201),
    Route("GET", "/api/v1/tokens", "Tokens", Role.ADMIN, _tokens, answer=TokenList),
    Route("DELETE", "/api/v1/tokens/{name}", "Revoke a token", Role.ADMIN, _revoke_token, answer=Done),
    Route("PUT", "/api/v1/credentials/{name}", "Keep a kubeconfig, encrypted", Role.ADMIN, _put_credential,
          body=CredentialBody, answer=CredentialOut),
    Route("GET", "/api/v1/credentials", "Names of kept kubeconfigs", Role.ADMIN, _credentials, answer=CredentialList),
    Route("DELETE", "/api/v1/credentials/{name}", "Remove a kubeconfig", Role.ADMIN, _remove_credential, answer=Done),
)  # fmt: skip
