"""What every call keeps of its work: the folder of its results, its part of them, and how far it has come."""
