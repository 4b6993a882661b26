"""The `waxmark` command."""
