"""Reading what others wrote: files, text, JSON and pictures, within bounds. Nothing here knows what they mean."""
