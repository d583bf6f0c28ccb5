"""`fleet sim`: the simulated clusters of a demo."""

from __future__ import annotations

from cyclopts import App

sim_app = App(name="sim", help="Act on the simulated clusters of a running demo.")


@sim_app.command(name="drift")
def sim_drift(unit: str = "", *, cluster: str = "") -> int:
    """Change an object by hand on a simulated cluster of the running demo."""
    from fleet.cli.sim import drift as handler

    return handler(unit, cluster)
