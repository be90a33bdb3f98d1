"""The whole store while everything is killed and every fault is on: `make chaos DURATION=60 SEED=1`."""
