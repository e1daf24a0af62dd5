"""The pages: what they say, how they look to a browser, and that nothing in them comes alive."""
