"""The whole surface: every route table in one."""

from smarttrade.api.routes import accounts, market_data, sandbox, smart_trades, system, users
from smarttrade.api.routing import RouteTable
from smarttrade.api.services import Services


def all_routes(services: Services) -> RouteTable:
    """Everything that this server answers."""
    table = RouteTable()
    for part in (system, users, accounts, market_data, smart_trades):
        table.include(part.routes(services))
    table.include(system.health_routes(services))
    if services.sandbox is not None:
        table.include(sandbox.routes(services))
    return table
