"""The description of the public surface that the gateway serves at ``/openapi.json``.

Data, in Python: what stands in the code already (the table of codes, the limits of fields, the schema of
``routing_hint``) is taken from there, and the examples of streams are made by what makes streams. The tests hold it
against the application's routes and against real answers.
"""
