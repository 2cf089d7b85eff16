"""The chat-completions wire format: requests, streams and whole answers, read, written and relayed."""
