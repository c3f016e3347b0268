"""The commands `opml-fuzz` and `opml-prove`."""
