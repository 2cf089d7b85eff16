"""Each wire format once: requests and answers, streamed or whole, read and written. Pure; knows no vendor, no client."""
