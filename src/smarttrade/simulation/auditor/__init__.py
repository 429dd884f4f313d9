"""A second bookkeeper, who shares no code with the server and checks after every step."""

from smarttrade.simulation.auditor.auditor import Auditor

__all__ = ["Auditor"]
