"""The Gemini wire format: requests, streams and whole answers, read, written and relayed."""
