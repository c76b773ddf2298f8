"""Where batches become durable: Delta tables, Parquet chains, quarantine, and their proof."""
