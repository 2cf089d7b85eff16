"""One inference, from its opening to its terminal frame: one pump, its watchers, one arbiter, one settlement."""
