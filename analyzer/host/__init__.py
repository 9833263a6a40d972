"""The kernel of this host: its TCP sockets, who holds them, its counters, and what the packets say of the same connections."""
