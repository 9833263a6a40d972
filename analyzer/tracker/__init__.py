"""The state tracker: in which RFC 9293 state both endpoints are after each segment, and how that is known."""
