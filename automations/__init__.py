"""What people configure, and what acts."""
