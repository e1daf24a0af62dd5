"""Pages: what people look at in a browser, made on the server from look-ups, without a line of script."""
