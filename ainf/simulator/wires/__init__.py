"""The wire formats that the simulator speaks, one file each; ``routes`` lists them."""
