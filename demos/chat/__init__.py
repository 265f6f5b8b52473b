"""Chat rooms that outlive their server: channels, history, and a log in a file."""
