"""Benchmarks of tamperscope against other tools that do the same task; README.md says how to run them."""
