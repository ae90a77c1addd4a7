"""What a unit takes and weighs: measured where it was cooked before, estimated where not."""
