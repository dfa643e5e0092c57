"""Everything on one machine: the services, the paper exchange and our own processes, as one stack."""
