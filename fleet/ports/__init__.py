"""Every protocol to the outside, its contract in the docstring; one module per neighbour.

Implementations are named in `wiring.py` alone. Each port has one contract suite in tests/contracts/.
"""
