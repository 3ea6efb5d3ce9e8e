"""A load from many devices, each on a connection of its own. `crowd.Crowd` is the way in."""
