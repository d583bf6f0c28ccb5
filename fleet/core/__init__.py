"""The values of the spine and all decisions on them: no I/O, no clock, no asyncio."""
