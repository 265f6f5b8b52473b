"""Long jobs, and how far they are: over reloads, over restarts, to the end."""
