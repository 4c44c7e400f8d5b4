"""The kernels: layout, Python reference and bindings of each op."""
