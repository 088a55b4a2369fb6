"""What a model says: how often it is right, how sure it is, when it knows, and what speaks for its answer."""
