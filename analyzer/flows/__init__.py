"""Which segments belong together: the key, the incarnations of a connection, who is the client and by what evidence."""
