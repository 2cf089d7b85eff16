"""The HTTP surface (quart-trio): routes, credentials, errors, receipts, and the seam to the exchange."""
