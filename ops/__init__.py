"""The composition roots and the command line: the only rooms that know every other; nobody imports them."""
