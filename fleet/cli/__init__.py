"""The command `fleet`: a module per command; nothing heavy is imported before it is needed."""
