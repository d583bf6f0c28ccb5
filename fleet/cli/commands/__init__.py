"""The grammar of each command: its arguments and what its help says. Handlers are imported when one is called."""
