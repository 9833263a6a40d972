"""What the frames mean: the first questions, and (later) the symptoms and their causes."""
