"""What an author hands out: the bundle for students, recorded public cases, a new assignment."""
