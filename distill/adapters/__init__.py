"""Adapters: any student in the form that an evaluation kit or a library expects. docs/kits.md shows each of them."""
