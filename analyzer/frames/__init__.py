"""What a user gets: the schema of the frames, building them, counting states over time, keeping them on disk."""
