"""Each wire format once: requests and answers, streamed or whole, read and written. Knows no vendor and no client."""
