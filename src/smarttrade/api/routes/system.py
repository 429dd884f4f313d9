"""Is the server there, what time does it have, and is my key good (api.md D1)."""

from typing import Final

from smarttrade.api.routing import Answer, Call, RouteTable, Security
from smarttrade.api.services import Services
from smarttrade.domain.quote import SECOND

TAG: Final = "System"


def routes(services: Services) -> RouteTable:
    """The routes of section D1."""
    table = RouteTable("/public/api")

    @table.route(
        "GET", "/ver1/ping", security=Security.NONE, tag=TAG, summary="Is the server there", response_schema="Ping"
    )
    def ping(_: Call) -> Answer:
        return Answer({"pong": "pong"})

    @table.route(
        "GET", "/ver1/time", security=Security.NONE, tag=TAG, summary="Time of the server", response_schema="ServerTime"
    )
    def time(_: Call) -> Answer:
        return Answer({"server_time": services.now() // SECOND})

    @table.route("GET", "/ver1/validate", tag=TAG, summary="Check key and signature", response_schema="Validity")
    def validate(_: Call) -> Answer:
        return Answer({"valid": True})

    return table
