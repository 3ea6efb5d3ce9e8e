"""Kill, cut, stall, fill: nothing may be lost or doubled."""
