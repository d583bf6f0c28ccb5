"""Errors that are about more than one object: the session of a cluster ends with them."""

from __future__ import annotations

from fleet.errors import IdentityMismatch, IdentityUnreadable, OwnedByOther, StateNotWritable

# These concern the whole cluster: the connection ends and is proven anew.
ENDS_SESSION = (IdentityMismatch, IdentityUnreadable, OwnedByOther)
ENDS = (*ENDS_SESSION, StateNotWritable)  # with what concerns the whole hub
