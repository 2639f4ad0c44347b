"""The same task done with other libraries: a small module each, usable as a library and as a process."""
