"""What comes from servers, exceptions and files of others, before it is stored, printed or raised."""
