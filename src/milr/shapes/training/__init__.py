"""How nano and the held-out judge are trained: nothing here runs when a picture is made."""
