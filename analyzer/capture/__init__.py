"""Sources that yield batches of raw records: files, pipes, several files merged, live sockets; and capture filters."""
