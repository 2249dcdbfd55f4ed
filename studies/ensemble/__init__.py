"""Many small MLPs trained together: on a processor's cores in a compiled loop, on a GPU in one batch."""
