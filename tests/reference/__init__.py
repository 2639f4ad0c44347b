"""A slow, plain model of the C core: small enough to be believed, exact about the header's definitions."""
