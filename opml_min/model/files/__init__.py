"""Files besides the image: the cache, facts remembered about large files, atomic writes, downloads by name."""
