"""All measurements, in the order of a sweep."""

from benchmarks import measure_bank, measure_flow, measure_log, measure_pages, measure_store
from benchmarks.peers import measuring as peers

ALL = (*measure_log.ALL, *measure_pages.ALL, *measure_bank.ALL, *measure_flow.ALL, *measure_store.ALL, *peers.ALL)
