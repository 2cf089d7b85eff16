"""Which model a request for a routing target goes to, and why: pure."""
