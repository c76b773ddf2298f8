"""The signals between a round and its consumers."""

import signal

STACKS = signal.SIGUSR1  # a consumer writes the stacks of its threads into its log
