"""Who is out of date, who is next, and what a return proves."""
