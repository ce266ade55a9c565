"""What agents did, as records without text."""
