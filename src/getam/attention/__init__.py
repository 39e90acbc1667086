"""What attends to what in a model that is left as it is: calls, their rows and gradients, and where tokens lie."""
