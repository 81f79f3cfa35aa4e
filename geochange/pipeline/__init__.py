"""The library composed: one module a command, each with the function that the command and the Python API call."""
