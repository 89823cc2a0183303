"""An audit of a relay from outside: what it offers, what it refuses, and what it gives away."""
