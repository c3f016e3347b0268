"""Files of others, read with every size checked before it is used."""
