"""What a change of the repo does to the fleet, before it is merged: pure values, without any cluster."""
