"""The room that owns the listening sockets: hypercorn's trio worker behind a guard, and our own launcher.

Words: a *connection* is one client's socket; a *request* one ASGI call on it; the *head* is the request line and
headers. To *finish* a connection is to send what is written and close politely; to *abort* it is to reset it at once.
A *refusal* is an answer that the application never hears of; after it nothing more is read as a request.
"""
