"""The user behind a key: mode, permissions, language (api.md D2, auth.md section 8)."""

from typing import Final

from smarttrade.api.parameters import Parameters
from smarttrade.api.routing import Answer, Call, RouteTable
from smarttrade.api.services import Services
from smarttrade.domain.account import Mode, Permission

TAG: Final = "Users"
MODES: Final = {mode.value: mode for mode in Mode}
LOCALES: Final = {code: code for code in ("ru", "en", "pt", "zh", "es", "fr", "tr", "de", "it")}


def routes(services: Services) -> RouteTable:
    """The routes of section D2."""
    table = RouteTable("/public/api")

    @table.route(
        "POST",
        "/ver1/users/change_mode",
        permissions=[Permission.ACCOUNTS_WRITE],
        tag=TAG,
        summary="Say which accounts lists show: paper or real ones",
        request_schema="ChangeMode",
        response_schema="Done",
        error_statuses=(400,),
    )
    async def change_mode(call: Call) -> Answer:
        params = Parameters(call.params)
        mode = params.required_choice("mode", MODES)
        params.finish()
        await services.directory.set_mode(call.signer.user.id, mode)
        return Answer(True)

    @table.route(
        "GET",
        "/ver1/users/current_mode",
        permissions=[Permission.ACCOUNTS_READ],
        tag=TAG,
        summary="Which accounts lists show",
        response_schema="CurrentMode",
    )
    def current_mode(call: Call) -> Answer:
        mode = call.signer.mode
        return Answer({"mode": (Mode.REAL if mode is None else mode).value})  # an unset mode hides nothing

    info = "/ver1/users/permissions_info"

    @table.route("GET", info, tag=TAG, summary="What the key may do", response_schema="PermissionsInfo")
    def permissions_info(call: Call) -> Answer:
        held = call.signer.key.permissions
        return Answer({"permissions": [permission.value for permission in Permission if permission in held]})

    @table.route(
        "PUT",
        "/ver1/users/locale",
        tag=TAG,
        summary="Store a language; texts stay English",
        request_schema="ChangeLocale",
        response_schema="Done",
        error_statuses=(400,),
    )
    async def locale(call: Call) -> Answer:
        params = Parameters(call.params)
        code = params.required_choice("locale", LOCALES)
        params.finish()
        await services.directory.set_locale(call.signer.user.id, code)
        return Answer(True)

    return table
