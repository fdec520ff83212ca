"""What travels between the rooms, money, and errors."""
