"""How soon nothing starts any more once everything is halted."""
