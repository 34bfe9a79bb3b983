"""The commands, each a function; its signature is its options."""
