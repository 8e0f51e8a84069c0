"""SIB in JAX."""
