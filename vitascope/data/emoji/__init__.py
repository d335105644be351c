"""A captioned corpus of Microsoft's animated 3-D emoji on generated settings."""
