"""The commands: one function each. The parameters of the function are the options of the command."""
