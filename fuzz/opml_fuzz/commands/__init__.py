"""The commands `opml-fuzz` and `opml-prove`, which put everything else together."""
