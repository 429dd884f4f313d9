"""One trade on a pair and an account of its own, in a server process."""

from decimal import Decimal
from typing import Any, NamedTuple

from harness import Account, Entity, Market, Server, Trade

SPOT, FUTURES = "spot", "linear"
FINAL = ("finished", "stop_loss_finished", "panic_sold", "cancelled", "failed")
STOPPED = {"status.type": "stop_loss_finished", "status.error": "absent"}


def targets(*steps: tuple[str, str, int]) -> dict[str, Any]:
    """A take-profit group of (order type, bid, volume)."""
    return {
        "enabled": True,
        "steps": [
            {"order_type": kind, "volume": volume, "price": {"type": "bid", "value": price}}
            for kind, price, volume in steps
        ],
    }


def stop(level: str, limit: str | None = None, **more: Any) -> dict[str, Any]:
    """A stop at a bid, at market unless it has a limit price."""
    conditional = {"price": {"type": "bid", "value": level}}
    if limit is None:
        return {"enabled": True, "order_type": "market", "conditional": conditional, **more}
    return {"enabled": True, "order_type": "limit", "price": {"value": limit}, "conditional": conditional, **more}


def buy(units: str = "10", limit: str | None = None) -> dict[str, Any]:
    """A long entry, at market unless it has a price."""
    if limit is None:
        return {"type": "buy", "order_type": "market", "units": {"value": units}}
    return {"type": "buy", "order_type": "limit", "units": {"value": units}, "price": {"value": limit}}


class Scene(NamedTuple):
    """One trade, its pair and its account."""

    market: Market
    account: Account
    trade: Trade

    def sold_at_market(self) -> list[str]:
        """Filled quantities of the market sells that were taken, oldest first."""
        return [
            order["filled_quantity"]
            for order in self.trade.orders()
            if (order["side"], order["type"]) == ("sell", "market") and order["status"] != "rejected"
        ]

    def resting(self) -> list[tuple[str, str, str]]:
        """Side, quantity and price of the trade's open orders, oldest first."""
        return [(order["side"], order["quantity"], order["price"]) for order in self.trade.orders("open")]

    def refuse(self, on: str, text: str, kind: str, times: int = 1) -> None:
        """The exchange refuses the next calls."""
        self.account.fault(on, "reject", text=text, times=times, **{"class": kind})

    def is_settled(self) -> bool:
        """What the trade has entered and closed is what its orders at the exchange have traded."""
        entity, filled = self.trade.get()["data"], {"buy": Decimal(0), "sell": Decimal(0)}
        for order in self.trade.orders():
            filled[order["side"]] += Decimal(order["filled_quantity"])
        return (Decimal(entity["entered_amount"]), Decimal(entity["closed_amount"])) == (filled["buy"], filled["sell"])


def stage(server: Server, kind: str = SPOT, price: str = "100", **rules: Any) -> tuple[Market, Account]:
    """A pair at a price, and an account that can pay."""
    market = server.market(kind=kind, **rules)
    account = server.account(market, USDT=100_000)
    market.quote(price)
    return market, account


def begin(server: Server, kind: str = SPOT, **body: Any) -> Scene:
    """A trade of 10 units bought at 100, with one limit target at 110 and a stop at 90, unless told."""
    market, account = stage(server, kind)
    whole = {"position": buy(), "take_profit": targets(("limit", "110", 100)), "stop_loss": stop("90"), **body}
    return Scene(market, account, account.create(market, **whole))


def die_and_return(server: Server) -> None:
    """SIGKILL, and a new process on the same directory."""
    server.kill()
    server.start()


def everything(scene: Scene) -> Entity:
    """All that anybody can see of a trade, on both sides."""
    return {
        "digest": scene.trade.account.server.state()["digest"],
        "trade": scene.trade.get(),
        "sub-trades": scene.trade.trades(),
        "orders": scene.trade.orders(),
        "balances": scene.account.balances(),
    }
