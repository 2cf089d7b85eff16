"""What clients speak: a wire format with a client's quirks. Pure."""
