"""Tables, pictures and reports, made from records."""
