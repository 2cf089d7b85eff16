"""The Responses wire format: requests, streams and whole answers, read, written and relayed."""
