"""The way to the providers: the only room that opens connections to them, and the only one that knows httpx.

Words: a *wire* is one byte stream to a peer (a socket, TLS over it, memory in tests); a *connection* is a wire that
speaks HTTP/1.1; a *lane* holds the connections of one origin; a *call* is one request and its answer. Strategy:
everything is done per read. A call owns its connection alone; the first to end it closes the socket at once, without
waiting, and whatever the socket held can still be read as the *residue*.
"""
