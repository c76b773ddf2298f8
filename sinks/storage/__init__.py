"""Where sinks put files: folders and buckets."""
