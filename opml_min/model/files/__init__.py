"""Files outside the image: the cache, what is remembered of large files, atomic writes, fetching by name."""
