"""What the user may say, and which word wins: arguments, environment, file, defaults."""
