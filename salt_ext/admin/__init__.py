"""What operators ask for: status, history, check, setup, controls."""
