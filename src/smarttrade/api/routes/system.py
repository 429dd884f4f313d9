"""Is the server there, can it watch stops, what time does it have, and is my key good (api.md D1)."""

from typing import Final

from smarttrade.api.errors import not_healthy
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


def health_routes(services: Services) -> RouteTable:
    """One for whoever looks after the server: the state of its storage and its prices is not only in the log (F58)."""
    table = RouteTable()

    @table.route(
        "GET",
        "/health",
        security=Security.NONE,
        tag=TAG,
        summary="Can it watch every stop: 503 if not",
        response_schema="Health",
    )
    def health(_: Call) -> Answer:
        found = services.health()
        failing = {}
        if not found.stores:
            failing["storage"] = ["cannot be written: nothing is answered or sent until it can"]
        if not found.hears_prices:
            failing["prices"] = ["do not come: their source has broken and is started again"]
        elif found.pairs_without_price:
            failing["prices"] = [
                f"are missing for {found.pairs_without_price} of the watched pairs: stops cannot fire there"
            ]
        if failing:
            raise not_healthy(failing)
        return Answer({"status": "ok"})

    return table
