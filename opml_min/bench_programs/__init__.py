"""Programs that `opml bench` runs in the machine and, from the same C, natively. The ELFs are committed; `build` compiles them."""
