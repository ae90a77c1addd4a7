"""What calls `factory rebuild` again and again, on every kind of scheduler."""
