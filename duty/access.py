"""Who may do what at the desk: four roles, each may what the one before may, and who is asking.

Rules of this file: a handler that needs a role asks for it by `Depends(allowed(Role.OPERATOR))` and gets the
Caller. A request is looked at once, however many of its dependencies ask. Whose token it is the desk knows
(duty/keys.py); here stands what follows from it.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Final, Protocol, cast

from fastapi import Depends, Request
from starlette.types import Scope

from duty.handling import Verb
from schemas.errors import CarebellError


class Role(StrEnum):
    """What somebody is at the desk, from the least to the most."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"

    def includes(self, minimum: "Role") -> bool:
        """Tell whether this role may what `minimum` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(minimum)


ROLE_ZH: Final = {
    Role.VIEWER: "查看员",
    Role.OPERATOR: "值班员",
    Role.SUPERVISOR: "值班长",
    Role.ADMIN: "管理员",
}

HANDLES: Final = Role.OPERATOR
"""The least role that handles alarms."""


@dataclass(frozen=True)
class Caller:
    """Who is asking, in which role, and from which address (empty: not known)."""

    name: str
    role: Role
    address: str = ""


class RoleTooLowError(CarebellError):
    """The caller is known and may not do this."""

    def __init__(self, caller: Caller, minimum: Role) -> None:
        super().__init__(f"{caller.name} is {caller.role}, and this needs {minimum}")
        self.zh = f"权限不足：需要{ROLE_ZH[minimum]}，您是{ROLE_ZH[caller.role]}"


class _Porter(Protocol):
    async def caller(self, authorization: str, address: str) -> Caller: ...


def may(role: Role) -> list[Verb]:
    """Return what this role may do about alarms, whatever their state."""
    return list(Verb) if role.includes(HANDLES) else []


def address_of(scope: Scope) -> str:
    """Return where a request comes from, or nothing: a proxy's word is taken only if it is an address."""
    client = scope.get("client")
    try:
        return str(ipaddress.ip_address(client[0] if client else ""))
    except ValueError:
        return ""


async def known(request: Request) -> Caller:
    """Return who is asking; raises UnauthorizedError or TooManyError."""
    porter = cast("_Porter", request.app.state.desk)
    caller = await porter.caller(request.headers.get("authorization", ""), address_of(request.scope))
    request.state.caller = caller
    return caller


@cache
def allowed(minimum: Role) -> Callable[[Caller], Awaitable[Caller]]:
    """Return the dependency that gives the Caller, or raises RoleTooLowError below `minimum`."""

    async def check(caller: Annotated[Caller, Depends(known)]) -> Caller:
        if not caller.role.includes(minimum):
            raise RoleTooLowError(caller, minimum)
        return caller

    return check
