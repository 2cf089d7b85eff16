"""The commands. Each is thin: it reads the configuration, brings clock, ids and chance, and prints what another did."""
