"""A language model's answer, token by token: cut, reloaded, stopped, and whole all the same."""
