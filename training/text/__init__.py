"""Text as data: words in, tokens out."""
