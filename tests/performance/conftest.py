"""Counting what the server does uses whole systems inside the test."""

import sys
from pathlib import Path

for _drivers in ("system", "api", "adapters"):
    sys.path.insert(0, str(Path(__file__).parent.parent / _drivers))
