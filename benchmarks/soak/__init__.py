"""A gateway under mixed load and faults for a long time: what must be flat, and what must be nothing.

``place`` sets up the processes, ``load`` is the clients, ``trouble`` what else happens to the gateway, ``samples`` what
is measured of it meanwhile, ``reconciled`` lays its ledger beside its providers' books, ``report`` tells all that.
"""
