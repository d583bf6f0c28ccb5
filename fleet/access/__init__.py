"""Who may do what: tokens and roles (R37, R38)."""
